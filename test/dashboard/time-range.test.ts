import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  bucketLength,
  defaultRange,
  MAX_BUCKETS,
  RANGE_NAMES,
  RANGES,
  resolveRange,
  type RequestedRange,
} from '../../src/dashboard/time-range'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const windowSize = fc.oneof(
  fc.constantFrom(1_000, 10_000, MINUTE, 5 * MINUTE, 7 * MINUTE, HOUR, DAY),
  fc.integer({ min: 1_000, max: 2 * DAY }),
)
const extent = fc
  .tuple(windowSize, fc.nat(20_000_000), fc.nat(1_000_000))
  .map(([windowSize, first, windows]) => ({
    windowSize,
    first: first * windowSize,
    last: (first + windows) * windowSize,
  }))
const requested: fc.Arbitrary<RequestedRange> = fc.oneof(
  fc.constantFrom(...RANGE_NAMES).map(name => ({ name })),
  fc
    .tuple(fc.nat(4e12), fc.integer({ min: 1, max: 4e11 }))
    .map(([from, length]) => ({ from, to: from + length })),
)

test('a range consists of whole buckets of whole windows, at most 401, and contains every requested window', () => {
  fc.assert(
    fc.property(requested, extent, (requested, extent) => {
      const range = resolveRange(requested, extent)
      const end = extent.last + extent.windowSize
      const [from, to] =
        'name' in requested ? [end - RANGES[requested.name], end] : [requested.from, requested.to]
      const isRequested = (start: number) => start >= from && start < to
      if (!range) {
        expect(isRequested(extent.first) || isRequested(extent.last)).toBe(false)
        return
      }
      expect(range.bucket % extent.windowSize).toBe(0)
      expect(range.from % range.bucket).toBe(0)
      const buckets = (range.to - range.from) / range.bucket
      expect(Number.isInteger(buckets)).toBe(true)
      expect(buckets).toBeGreaterThanOrEqual(1)
      expect(buckets).toBeLessThanOrEqual(MAX_BUCKETS + 1)
      for (const start of [extent.first, extent.last])
        if (isRequested(start)) expect(start >= range.from && start < range.to).toBe(true)
    }),
  )
})

describe('bucket length', () => {
  test.each([
    ['a day of five-minute windows', DAY, 5 * MINUTE, 5 * MINUTE],
    ['a week of five-minute windows', 7 * DAY, 5 * MINUTE, 30 * MINUTE],
    ['a year of five-minute windows', 365 * DAY, 5 * MINUTE, DAY],
    ['an hour of ten-second windows', HOUR, 10_000, 10_000],
    ['a week of seven-minute windows, which no round length fits', 7 * DAY, 7 * MINUTE, 28 * MINUTE],
  ])('%s', (_, length, windowSize, bucket) => {
    expect(bucketLength(length, windowSize)).toBe(bucket)
  })
})

test.each([
  [10_000, '1h'],
  [MINUTE, '6h'],
  [5 * MINUTE, '24h'],
  [HOUR, '7d'],
  [30 * DAY, 'all'],
] as const)('the default range of windows of %d ms is %s', (size, name) => {
  expect(defaultRange(size)).toBe(name)
})

test('the page offers every named range', () => {
  const page = readFileSync('src/dashboard/page/index.html', 'utf8')
  const values = [...page.matchAll(/name="range" value="(\w+)"/g)].map(([, value]) => value)
  expect(values).toEqual(RANGE_NAMES)
})
