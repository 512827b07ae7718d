import type { Span } from './messages'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Ranges that can be chosen by name; each ends with the newest window that has a result. */
export const RANGES = {
  '15m': 15 * MINUTE,
  '1h': HOUR,
  '6h': 6 * HOUR,
  '24h': DAY,
  '7d': 7 * DAY,
  '30d': 30 * DAY,
  '1y': 365 * DAY,
  all: Infinity,
} as const

export type RangeName = keyof typeof RANGES

export type TimeRange = { name: RangeName } | { from: number; to: number }

/** Which windows Postgres has: the start of the first, and the newest. */
export interface Extent {
  first: number
  last: number
  windowSize: number
}

/** So many points are drawn at most. */
export const MAX_BUCKETS = 400

/** Buckets are so many times as long as they have to be at most. */
const COARSEST = 4

/**
 * Lengths of buckets that people read easily, shortest first. None is between six hours and a day: bars of whole days
 * are drawn from the totals of days.
 */
const LENGTHS = [
  ...[1, 2, 5, 10, 15, 30].map(n => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map(n => n * MINUTE),
  ...[1, 2, 3, 6].map(n => n * HOUR),
  ...[1, 7, 28].map(n => n * DAY),
]

/** The windows that a range means, in buckets of whole windows; undefined where the range holds none. */
export function spanOf(range: TimeRange, extent: Extent): Span | undefined {
  const { windowSize } = extent
  const end = extent.last + windowSize
  const wanted = 'name' in range ? { from: end - RANGES[range.name], to: end } : range
  const from = Math.max(wanted.from, extent.first)
  const to = Math.min(wanted.to, end)
  if (from >= to) return undefined
  const bucket = bucketFor(to - from, windowSize)
  return { from: floor(from, bucket), to: ceil(to, bucket), bucket, windowSize }
}

/** The shortest length that divides a range into no more than {@link MAX_BUCKETS}, with room for one that it only touches. */
export function bucketFor(length: number, windowSize: number): number {
  const least = Math.max(windowSize, length / (MAX_BUCKETS - 1))
  const nice = LENGTHS.find(
    candidate => candidate >= least && candidate <= COARSEST * least && candidate % windowSize === 0,
  )
  return nice ?? ceil(least, windowSize)
}

/** The shortest named range that shows a hundred windows. */
export function defaultRange(windowSize: number): RangeName {
  const names = Object.keys(RANGES) as RangeName[]
  return names.find(name => RANGES[name] >= 100 * windowSize) ?? 'all'
}

const floor = (time: number, length: number) => Math.floor(time / length) * length
const ceil = (time: number, length: number) => Math.ceil(time / length) * length
