import type { OffsetRange } from '../core/window/offset-range'
import { bytesOf, type Outgoing } from '../core/window/poller-state'
import { sumOf } from '../core/window/totals'
import type { Attributes } from '../telemetry/opentelemetry'

/** What the span of a flush shows. */
export function flushAttributes(outgoing: Outgoing, ranges: OffsetRange[]): Attributes {
  const partitions = ranges.map(({ partition }) => partition)
  const counts = { partitions, windows: outgoing.size, ...sumOf(ranges), bytes: bytesOf(outgoing) }
  return Object.fromEntries(Object.entries(counts).map(([name, value]) => [`web_traffic.${name}`, value]))
}
