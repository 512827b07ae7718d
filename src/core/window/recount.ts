import { GroupCounter } from '../counts/columnar'
import type { EventReader } from '../event/event-reader'
import type { AppliedPartition } from './protocol'
import { firstGroups } from '../counts/group-limit'
import type { LogRecord } from '../event/log-record'
import { PartitionReader, type ReaderRules } from './partition-reader'
import type { MaxEventTime } from './watermark'

/** A closed window, and what it was counted from. */
export interface CountedWindow {
  /** Epoch milliseconds. */
  start: number
  partitions: AppliedPartition[]
}

/** Which closed windows are counted anew. Times are epoch milliseconds. */
export interface WindowSelection {
  /** Windows that begin at or after it. */
  from?: number
  /** Windows that end at or before it. */
  to?: number
  /** Only those that have late events which are in no result; with `unlocated`, those of either kind. */
  late?: boolean
  /** Only those with hits whose look-up failed and was not waited for. */
  unlocated?: boolean
}

/** A stretch `[from, to)` of a partition's log in which windows were counted. */
export interface Segment {
  partition: number
  from: number
  to: number
  /** The watermark's basis at `from`. */
  basis: MaxEventTime
  /** The last offset that was counted in each window, by its start. */
  windows: Map<number, number>
}

/** The last offset whose event is a hit of the window: what came after it had closed is late. */
export function lastCounted({ counted, last }: AppliedPartition): number {
  return counted ?? last
}

/**
 * What has to be read again to count the windows anew, each offset once: stretches that touch are one. A window's events
 * begin at its first range, where the basis is known, so that the same events are late as the first time.
 */
export function segmentsOf(windows: CountedWindow[]): Segment[] {
  const parts = windows
    .flatMap(({ start, partitions }) =>
      partitions.map(applied => ({ start, ...applied, to: lastCounted(applied) + 1 })),
    )
    .filter(({ from, to }) => from < to)
    .sort((a, b) => a.partition - b.partition || a.from - b.from)
  const segments: Segment[] = []
  for (const { partition, from, to, basis, start } of parts) {
    const open = segments.at(-1)
    if (open?.partition === partition && from <= open.to) {
      open.to = Math.max(open.to, to)
      open.windows.set(start, to - 1)
    } else segments.push({ partition, from, to, basis, windows: new Map([[start, to - 1]]) })
  }
  return segments
}

/** The counts of windows that are counted anew, from all their segments. */
export class Recount {
  private readonly counters = new Map<number, GroupCounter>()

  constructor(
    windows: CountedWindow[],
    private readonly rules: ReaderRules,
    private readonly events: EventReader,
  ) {
    for (const { start } of windows) this.counters.set(start, new GroupCounter(firstGroups(rules.maxGroups)))
  }

  counterOf(start: number): GroupCounter {
    return this.counters.get(start)!
  }

  segment(segment: Segment): SegmentRecount {
    return new SegmentRecount(segment, this.rules, this.events, start => this.counterOf(start))
  }
}

/** Counts one segment's records as they were counted the first time. */
class SegmentRecount {
  private readonly reader: PartitionReader
  /** Offsets after the last one of each window, in order. */
  private readonly ends: number[]

  constructor(
    private readonly segment: Segment,
    rules: ReaderRules,
    events: EventReader,
    private readonly counterOf: (start: number) => GroupCounter,
  ) {
    const { partition, from, basis, windows } = segment
    const claimed = { partition, epoch: 0, position: from, basis, announcedTo: null }
    this.reader = new PartitionReader(claimed, rules, 0, events)
    this.ends = [...new Set(windows.values())].map(last => last + 1).sort((a, b) => a - b)
  }

  /** The next offset to read. */
  get position(): number {
    return this.reader.position
  }

  /** Takes the records of a fetch that covers everything before `next`; those that are not awaited are passed over. */
  read(records: readonly LogRecord[], next: number): void {
    let rest = records
    while (this.ends.length > 0) {
      // A range ends with each window, so that what came after it had closed is in another one.
      const end = Math.min(this.ends[0]!, next)
      const beyond = rest.findIndex(({ offset }) => offset >= end)
      const part = beyond < 0 ? rest : rest.slice(0, beyond)
      const taken = this.reader.read(part, end)
      if (taken < part.length) {
        this.settle()
        rest = rest.slice(taken)
        continue
      }
      rest = rest.slice(part.length)
      if (this.position < this.ends[0]!) return
      this.settle()
      this.ends.shift()
    }
  }

  private settle(): void {
    const range = this.reader.cut()
    for (const start of range?.windows.keys() ?? []) {
      const last = this.segment.windows.get(start)
      if (last !== undefined && range!.from <= last) this.counterOf(start).addAll(range!.delta(start))
    }
  }
}
