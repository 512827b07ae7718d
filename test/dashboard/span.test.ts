import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import {
  bucketFor,
  defaultRange,
  MAX_BUCKETS,
  RANGES,
  spanOf,
  type TimeRange,
} from '../../src/dashboard/span'

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
const range: fc.Arbitrary<TimeRange> = fc.oneof(
  fc.constantFrom(...(Object.keys(RANGES) as (keyof typeof RANGES)[])).map(name => ({ name })),
  fc
    .tuple(fc.nat(4e12), fc.integer({ min: 1, max: 4e11 }))
    .map(([from, length]) => ({ from, to: from + length })),
)

test('a span is whole buckets of whole windows, bounded, and holds every window that the range means', () => {
  fc.assert(
    fc.property(range, extent, (range, extent) => {
      const span = spanOf(range, extent)
      const end = extent.last + extent.windowSize
      const [from, to] = 'name' in range ? [end - RANGES[range.name], end] : [range.from, range.to]
      const isMeant = (start: number) => start >= from && start < to
      if (!span) {
        expect(isMeant(extent.first) || isMeant(extent.last)).toBe(false)
        return
      }
      expect(span.bucket % extent.windowSize).toBe(0)
      expect(span.from % span.bucket).toBe(0)
      const buckets = (span.to - span.from) / span.bucket
      expect(Number.isInteger(buckets)).toBe(true)
      expect(buckets).toBeGreaterThanOrEqual(1)
      expect(buckets).toBeLessThanOrEqual(MAX_BUCKETS + 1)
      for (const start of [extent.first, extent.last])
        if (isMeant(start)) expect(start >= span.from && start < span.to).toBe(true)
    }),
  )
})

describe('buckets', () => {
  test.each([
    ['a day of windows of five minutes', DAY, 5 * MINUTE, 5 * MINUTE],
    ['a week of them', 7 * DAY, 5 * MINUTE, 30 * MINUTE],
    ['a year of them', 365 * DAY, 5 * MINUTE, DAY],
    ['an hour of windows of ten seconds', HOUR, 10_000, 10_000],
    [
      'a week of windows of seven minutes: no length that people like is whole windows',
      7 * DAY,
      7 * MINUTE,
      28 * MINUTE,
    ],
  ])('%s', (_, length, windowSize, bucket) => {
    expect(bucketFor(length, windowSize)).toBe(bucket)
  })
})

test.each([
  [10_000, '1h'],
  [MINUTE, '6h'],
  [5 * MINUTE, '24h'],
  [HOUR, '7d'],
  [30 * DAY, 'all'],
] as const)('windows of %d ms are first shown over %s', (size, name) => {
  expect(defaultRange(size)).toBe(name)
})
