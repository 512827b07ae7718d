import type { Interval } from '../core/window/periods'
import type { TimeRange } from './api'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Lengths of the named ranges in milliseconds. Each range ends with the newest window that has a result. */
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

export const RANGE_NAMES = Object.keys(RANGES) as RangeName[]

export type RequestedRange = { name: RangeName } | Interval

/** The starts of the first and the newest window in Postgres. */
export interface Extent {
  first: number
  last: number
  windowSize: number
}

export const MAX_BUCKETS = 400

/** A round bucket length may be this many times the shortest possible length. */
const MAX_ROUNDING = 4

/** Shortest first. Nothing lies between six hours and a day, so that longer buckets can use the daily totals. */
const ROUND_LENGTHS = [
  ...[1, 2, 5, 10, 15, 30].map(n => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map(n => n * MINUTE),
  ...[1, 2, 3, 6].map(n => n * HOUR),
  ...[1, 7, 28].map(n => n * DAY),
]

/** The requested range, limited to the existing windows and widened to whole buckets; undefined if it has no window. */
export function resolveRange(requested: RequestedRange, extent: Extent): TimeRange | undefined {
  const { windowSize } = extent
  const end = extent.last + windowSize
  const { from, to } = 'name' in requested ? { from: end - RANGES[requested.name], to: end } : requested
  const [first, last] = [Math.max(from, extent.first), Math.min(to, end)]
  if (first >= last) return undefined
  const bucket = bucketLength(last - first, windowSize)
  return { from: floor(first, bucket), to: ceil(last, bucket), bucket, windowSize }
}

/** The shortest length that yields at most {@link MAX_BUCKETS} buckets, even if the range starts within a bucket. */
export function bucketLength(length: number, windowSize: number): number {
  const min = Math.max(windowSize, length / (MAX_BUCKETS - 1))
  const round = ROUND_LENGTHS.find(
    candidate => candidate >= min && candidate <= MAX_ROUNDING * min && candidate % windowSize === 0,
  )
  return round ?? ceil(min, windowSize)
}

/** The shortest named range that shows at least a hundred windows. */
export function defaultRange(windowSize: number): RangeName {
  return RANGE_NAMES.find(name => RANGES[name] >= 100 * windowSize) ?? 'all'
}

const floor = (time: number, length: number) => Math.floor(time / length) * length
const ceil = (time: number, length: number) => Math.ceil(time / length) * length
