import { GroupCounter } from '../counts/columnar'
import { CountedExceptions } from '../counts/counted-exceptions'
import type { GroupPolicy } from '../counts/dictionary'
import { firstGroups } from '../counts/group-limit'
import type { EventReader } from '../event/event-reader'
import { MISSING_REASONS, type MissingReason } from '../event/event'
import type { LogRecord, OffsetSpan } from '../event/log-record'
import type { OffsetRange } from './offset-range'
import { PartitionReader, type ReaderRules } from './partition-reader'
import type { AppliedPartition, RangeExceptions } from './protocol'
import { isLate, type MaxEventTime } from './watermark'

/** A closed window, and what it was counted from. */
export interface CountedWindow {
  /** Epoch milliseconds. */
  start: number
  partitions: AppliedPartition[]
}

/** Which closed windows to count again. Times are epoch milliseconds. */
export interface WindowSelection {
  /** Windows that begin at or after it. */
  from?: number
  /** Windows that end at or before it. */
  to?: number
  /** Only those with late events that are in no result; with `unlocated`, those of either kind. */
  late?: boolean
  /** Only those with hits whose lookup failed. */
  unlocated?: boolean
}

/** The offsets `[from, to)` of a partition. */
interface Stretch {
  partition: number
  from: number
  to: number
  /** The watermark's basis at `from`. */
  basis: MaxEventTime
}

/** A stretch in which several windows were counted. */
interface Segment extends Stretch {
  /** The last offset that was counted in each window, by the window's start. */
  windows: Map<number, number>
}

/** A stretch that contains the records of one window. */
export interface LogStretch extends Stretch {
  /** Hits from this offset on came after the window had closed and are late; `to` if there are none. */
  hitsTo: number
}

/** The window's share of a stretch. */
export interface CountedStretch extends LogStretch {
  /** The last offset that is a hit; `from - 1` if there is none. */
  lastHit: number
  /** The last offset that is a hit or an exception; `from - 1` if there is none. */
  last: number
  hits: number
  exceptions: RangeExceptions
  /** How many exceptions. */
  records: number
  /** Records that Kafka no longer has, if they would have travelled to the window. */
  lost: number
}

/** The last offset whose event is a hit of the window; later ones came after it had closed. */
export function lastCounted({ counted, last }: AppliedPartition): number {
  return counted ?? last
}

/**
 * The segments to read to count the windows again, each offset once. A segment begins with a window's first range, where
 * the basis is known, so that the same events are late as the first time.
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

/** Counts windows again from the log, by the rules that counted them the first time. */
export class Recount {
  private readonly counters = new Map<number, GroupCounter>()
  /** Late events of all stretches share one limit. */
  private readonly lateNames: GroupPolicy

  constructor(
    windows: { start: number }[],
    private readonly rules: ReaderRules,
    private readonly events: EventReader,
  ) {
    this.lateNames = firstGroups(rules.maxGroups)
    for (const { start } of windows) this.counters.set(start, new GroupCounter(firstGroups(rules.maxGroups)))
  }

  counterOf(start: number): GroupCounter {
    return this.counters.get(start)!
  }

  /** Counts the hits of all windows of a segment. */
  segment(segment: Segment): SegmentRecount {
    return new SegmentRecount(segment, this.rules, this.events, start => this.counterOf(start))
  }

  /**
   * Counts the hits and exceptions of one window.
   *
   * @param earliest the first offset that Kafka still has
   */
  stretch(start: number, stretch: LogStretch, earliest: number): StretchRecount {
    return new StretchRecount(start, stretch, earliest, this.rules, this.events, {
      hits: this.counterOf(start),
      exceptions: new CountedExceptions(this.lateNames),
    })
  }
}

/** Reads a stretch again, in ranges that end at given offsets. */
abstract class StretchReader {
  protected readonly reader: PartitionReader

  /**
   * @param ends offsets at which a range must end, ascending; the last one is the end of the stretch
   * @param earliest the first offset that Kafka still has
   */
  constructor(
    { partition, from, basis }: Stretch,
    private readonly ends: number[],
    protected readonly rules: ReaderRules,
    events: EventReader,
    earliest = 0,
  ) {
    const claimed = { partition, epoch: 0, position: from, basis, announcedTo: null }
    this.reader = new PartitionReader(claimed, rules, earliest, events)
  }

  protected abstract add(range: OffsetRange): void

  /** The next offset to read. */
  get position(): number {
    return this.reader.position
  }

  /** Whether the rest of the stretch is not needed. */
  get done(): boolean {
    return this.position >= this.ends.at(-1)!
  }

  /** Counts the records of a fetch that covers all offsets before `next`; returns whether the stretch is done. */
  read(records: readonly LogRecord[], next: number, removed?: readonly OffsetSpan[]): boolean {
    let rest = records
    while (!this.done) {
      const rangeEnd = this.ends.find(end => end > this.position)!
      const end = Math.min(rangeEnd, next)
      const beyond = rest.findIndex(({ offset }) => offset >= end)
      const part = beyond < 0 ? rest : rest.slice(0, beyond)
      const taken = this.reader.read(part, end, removed)
      rest = rest.slice(taken)
      if (taken === part.length && this.position < rangeEnd) break
      this.cut()
    }
    return this.done
  }

  protected cut(): void {
    const range = this.reader.cut()
    if (range) this.add(range)
  }
}

class SegmentRecount extends StretchReader {
  constructor(
    private readonly segment: Segment,
    rules: ReaderRules,
    events: EventReader,
    private readonly counterOf: (start: number) => GroupCounter,
  ) {
    // A range ends with each window, so that events after it had closed are in another range.
    const ends = [...new Set(segment.windows.values())].map(last => last + 1).sort((a, b) => a - b)
    super(segment, ends, rules, events)
  }

  protected add(range: OffsetRange): void {
    for (const start of range.windows.keys()) {
      const last = this.segment.windows.get(start)
      if (last !== undefined && range.from <= last) this.counterOf(start).addAll(range.delta(start))
    }
  }
}

/** Rejected records of a stretch that are sampled; the newest. */
const MAX_SAMPLES = 10_000

export class StretchRecount extends StretchReader {
  private hits = 0
  private lastHit: number
  private last: number

  constructor(
    private readonly start: number,
    private readonly stretch: LogStretch,
    earliest: number,
    rules: ReaderRules,
    events: EventReader,
    private readonly into: { hits: GroupCounter; exceptions: CountedExceptions },
  ) {
    // Records that were lost after the stretch do not belong to the window.
    super(stretch, [stretch.hitsTo, stretch.to], rules, events, Math.min(earliest, stretch.to))
    this.lastHit = this.last = stretch.from - 1
    this.cut()
  }

  /** Whether no later record can belong to the window. */
  override get done(): boolean {
    return super.done || isLate(this.start + this.rules.windowSize, this.reader.basis, this.rules)
  }

  override read(records: readonly LogRecord[], next: number, removed?: readonly OffsetSpan[]): boolean {
    super.read(records, next, removed)
    this.cut()
    return this.done
  }

  protected add(range: OffsetRange): void {
    if (!range.windows.has(this.start)) return
    const { hits, exceptions, last, ...counts } = range.delta(this.start)
    this.last = last
    if (hits > 0 && range.from < this.stretch.hitsTo) {
      this.into.hits.addAll(counts)
      this.hits += hits
      this.lastHit = last
    }
    if (exceptions) this.into.exceptions.addAll(exceptions, MAX_SAMPLES)
  }

  /** @param withLost whether the missing records had not been read before and count as exceptions */
  counted(withLost = false): CountedStretch {
    const { stretch, hits, lastHit, last, start: window } = this
    const found = this.into.exceptions
    const { partition, from } = stretch
    const lost = MISSING_REASONS.reduce((sum, reason) => sum + found.rejectedFor(reason), 0)
    const { records, late, rejected, samples } = found.toMessage()
    const exceptions = { partition, from, window, late, rejected, samples }
    const counted = { ...stretch, hits, lastHit, last, lost }
    if (withLost) return { ...counted, exceptions, records }
    for (const reason of MISSING_REASONS) delete rejected[reason]
    exceptions.samples = samples.filter(([, reason]) => !MISSING_REASONS.includes(reason as MissingReason))
    return { ...counted, exceptions, records: records - lost }
  }
}
