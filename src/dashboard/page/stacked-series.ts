import type { Series, TimeRange, Timeline } from '../api'
import { formatWindow } from '../../core/window/tumbling-window'
import { count, escapeInvisible } from './format'

const DAY = 86_400_000

/** The series of a timeline, stacked from the bottom up. */
export interface StackedSeries {
  range: TimeRange
  series: Series[]
  /** Start of each bucket in seconds. */
  starts: number[]
  /** For each series, its hits plus those of all series below it, by bucket. */
  heights: number[][]
}

export function stackSeries({ range, series }: Timeline): StackedSeries | undefined {
  if (!range) return undefined
  const buckets = (range.to - range.from) / range.bucket
  const starts = Array.from({ length: buckets }, (_, i) => (range.from + i * range.bucket) / 1000)
  let below = new Array<number>(buckets).fill(0)
  const heights = series.map(({ hits }) => (below = hits.map((each, i) => each + below[i]!)))
  return { range, series, starts, heights }
}

export const seriesName = ({ host }: Series) => (host === null ? 'all other hosts' : escapeInvisible(host))

/** Buckets of a day or more are named by their days. */
export function bucketName({ range: { from, bucket } }: StackedSeries, i: number): string {
  const start = from + i * bucket
  if (bucket < DAY) return formatWindow(start, bucket)
  const day = (time: number) => new Date(time).toISOString().slice(0, 10)
  return bucket === DAY ? day(start) : `${day(start)} to ${day(start + bucket - 1)}`
}

export const bucketTotal = ({ heights }: StackedSeries, i: number) => heights.at(-1)?.[i] ?? 0

/** What a screen reader says about a bucket. */
export function describeBucket(stack: StackedSeries, i: number): string {
  const parts = stack.series
    .filter(({ hits }) => hits[i]! > 0)
    .map(series => `${seriesName(series)} ${count(series.hits[i]!)}`)
  return [`${bucketName(stack, i)}: ${count(bucketTotal(stack, i))} hits`, ...parts].join('; ')
}
