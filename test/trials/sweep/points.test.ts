import { expect, test } from '@jest/globals'
import {
  DEFAULT_FLUSH_INTERVAL,
  DEFAULT_MAX_GROUPS,
  derivePoint,
  DRAWS,
  MAX_PARTITIONS,
  MAX_TOPIC_BYTES,
  MAX_WINDOWS,
  REFERRER_BYTES,
  TEXTS,
  type Point,
} from '../../../trials/sweep/points'
import { recordsOf, WINDOW_SIZE } from '../../../trials/sweep/records'

const POINTS = Array.from({ length: 200 }, (_, i) => derivePoint(i + 1))
const SMALL: Point = {
  ...derivePoint(1),
  partitions: 5,
  skewed: false,
  hasEmptyPartition: true,
  records: 3_000,
  referrers: 3_000,
  draw: 'distinct',
  windows: 4,
  late: 0.05,
  malformed: 0.05,
}

const share = (holds: (point: Point) => boolean) => POINTS.filter(holds).length / POINTS.length
const textsOf = (point: Point) => [...recordsOf(point)].map(({ value }) => value?.toString() ?? null)

test('a point is a function of its number', () => {
  expect(derivePoint(7)).toEqual(derivePoint(7))
  expect(new Set(POINTS.map(point => JSON.stringify({ ...point, number: 0 }))).size).toBe(POINTS.length)
})

test('200 points cover every range, and most have the default settings', () => {
  const range = (pick: (point: Point) => number) => {
    const values = POINTS.map(pick)
    return { min: Math.min(...values), max: Math.max(...values) }
  }
  expect(range(point => point.partitions)).toEqual({ min: 1, max: MAX_PARTITIONS })
  const windows = range(point => point.windows)
  expect(windows.min).toBe(1)
  expect(windows.max).toBeGreaterThan(MAX_WINDOWS * 0.8)
  expect(windows.max).toBeLessThanOrEqual(MAX_WINDOWS)
  expect(range(point => point.referrerBytes.min).min).toBeLessThan(REFERRER_BYTES.min + 5)
  const longest = range(point => point.referrerBytes.max).max
  expect(longest).toBeGreaterThan(REFERRER_BYTES.max * 0.9)
  expect(longest).toBeLessThanOrEqual(REFERRER_BYTES.max)
  for (const workers of [1, 2, 3]) expect(share(point => point.workers === workers)).toBeGreaterThan(0.1)
  for (const text of TEXTS) expect(share(point => point.text === text)).toBeGreaterThan(0.05)
  for (const draw of DRAWS) expect(share(point => point.draw === draw)).toBeGreaterThan(0.1)
  for (const kind of ['none', 'kill', 'restart'])
    expect(share(({ disturbance }) => disturbance.kind === kind)).toBeGreaterThan(0.1)
  for (const kind of ['kill', 'restart'])
    expect(
      share(({ disturbance: { kind: found, during } }) => found === kind && during === 'close'),
    ).toBeGreaterThan(0.05)
  expect(share(point => point.liveFor === 0)).toBeGreaterThan(0.3)
  expect(share(point => point.liveFor > 0)).toBeGreaterThan(0.3)
  expect(share(point => point.late > 0)).toBeGreaterThan(0.2)
  expect(share(point => point.malformed > 0)).toBeGreaterThan(0.2)
  for (const isDefault of [
    share(point => point.flushInterval === DEFAULT_FLUSH_INTERVAL),
    share(point => point.maxGroups === DEFAULT_MAX_GROUPS),
  ]) {
    expect(isDefault).toBeGreaterThan(0.6)
    expect(isDefault).toBeLessThan(0.95)
  }
})

test('a topic has at most about 64 MB, and mostly 5 to 30 MB', () => {
  const sizes = POINTS.filter((_, i) => i % 20 === 0).map(point => {
    let bytes = 0
    for (const { value } of recordsOf(point)) bytes += value === null ? 0 : Buffer.byteLength(value)
    return bytes
  })
  expect(Math.max(...sizes)).toBeLessThan(MAX_TOPIC_BYTES * 1.05)
  const typical = sizes.filter(bytes => bytes > 4e6 && bytes < 31e6)
  expect(typical.length / sizes.length).toBeGreaterThan(0.5)
})

test('the records of a point are the same every time', () => {
  expect(textsOf(SMALL)).toEqual(textsOf(SMALL))
  expect(textsOf({ ...SMALL, number: 2 })).not.toEqual(textsOf(SMALL))
})

test('the number and the lengths of referrers match the point, in every kind of text', () => {
  for (const text of TEXTS) {
    const referrerBytes = { min: 20, max: 300 }
    const point = { ...SMALL, text, referrerBytes, late: 0, malformed: 0 }
    const referrers = textsOf(point).map(value => (JSON.parse(value!) as { referrer: string }).referrer)
    expect(new Set(referrers).size).toBe(point.records)
    const lengths = referrers.map(referrer => Buffer.byteLength(referrer))
    expect(Math.min(...lengths)).toBeLessThan(25)
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(20)
    expect(Math.max(...lengths)).toBeGreaterThan(295)
    expect(Math.max(...lengths)).toBeLessThanOrEqual(300)
    // The independent count uses this separator in its keys.
    expect(referrers.join('')).not.toContain('|')
  }
  const repeated = textsOf({ ...SMALL, draw: 'repeated', referrers: 10, late: 0, malformed: 0 })
  expect(new Set(repeated.map(value => (JSON.parse(value!) as { referrer: string }).referrer)).size).toBe(10)
})

test('events are spread over all windows of the point and all partitions but the empty one', () => {
  const point = { ...SMALL, late: 0, malformed: 0 }
  const records = [...recordsOf(point)]
  expect(new Set(records.map(({ partition }) => partition))).toEqual(new Set([0, 1, 2, 3]))
  const windows = records.map(({ value }) =>
    Math.floor(
      Date.parse((JSON.parse(value!.toString()) as { event_time: string }).event_time) / WINDOW_SIZE,
    ),
  )
  expect(new Set(windows).size).toBe(point.windows)
})
