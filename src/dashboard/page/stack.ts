import type { Series, Span, Timeline } from '../messages'
import { formatWindow } from '../../core/window/tumbling-window'
import { count, visible } from './format'

/** A timeline as it is drawn: from the bottom up, each host on top of those before it. */
export interface Stack {
  span: Span
  layers: Series[]
  /** Start of each bucket, in seconds. */
  starts: number[]
  /** Of each layer, its hits and those of all below it. */
  heights: number[][]
}

export function stackOf({ span, series }: Timeline): Stack | undefined {
  if (!span) return undefined
  const buckets = (span.to - span.from) / span.bucket
  const starts = Array.from({ length: buckets }, (_, i) => (span.from + i * span.bucket) / 1000)
  let below = new Array<number>(buckets).fill(0)
  const heights = series.map(({ hits }) => (below = hits.map((each, i) => each + below[i]!)))
  return { span, layers: series, starts, heights }
}

export const layerName = ({ host }: Series) => (host === null ? 'all other hosts' : visible(host))

export const bucketName = ({ span }: Stack, i: number) => bucketTitle(span.from + i * span.bucket, span)

/** A bucket by its time: one that is longer than a day by its days. */
function bucketTitle(start: number, { bucket }: Span): string {
  const day = (time: number) => new Date(time).toISOString().slice(0, 10)
  if (bucket < 86_400_000) return formatWindow(start, bucket)
  return bucket === 86_400_000 ? day(start) : `${day(start)} to ${day(start + bucket - 1)}`
}

export const total = ({ heights }: Stack, i: number) => heights.at(-1)?.[i] ?? 0

/** A bucket as a sentence, for those who hear the chart. */
export function spoken(stack: Stack, i: number): string {
  const layers = stack.layers
    .filter(({ hits }) => hits[i]! > 0)
    .map(layer => `${layerName(layer)} ${count(layer.hits[i]!)}`)
  return [`${bucketName(stack, i)}: ${count(total(stack, i))} hits`, ...layers].join('; ')
}
