import { GroupCounter, type Names } from './columnar'
import type { RejectionReason } from './event'
import { EventReader, type LocatedEvent, type LocatingRules } from './event-reader'
import type { Claimed, Delta, RangeExceptions, RangeTotals } from './messages'
import { NamedGroups } from './named-groups'
import { windowStart } from './tumbling-window'
import { publishable } from './unknown-country'
import type { Vocabulary } from './vocabulary'
import { advance, isLate, type Basis } from './watermark'

/** One record of the log. `timestamp` is epoch milliseconds. */
export interface LogRecord {
  offset: number
  timestamp: number
  /** UTF-8 text; null for a tombstone. */
  value: Uint8Array | null
}

export interface ReaderRules extends LocatingRules {
  windowSize: number
  watermarkDelay: number
  allowedLateness: number
  maxGroups: number
}

/** A range is cut before the encoded counts of one window, or of its late events, grow beyond this. */
export const MAX_DELTA_BYTES = 900_000

/**
 * A range is cut before it has counts of more windows than this, hits and late events each for themselves: all of them
 * are named in one message, and each has a workflow that is to be told.
 */
export const MAX_WINDOWS = 1_000

/** At most this many rejected records of a range are named one by one; their counts are always exact. */
export const MAX_SAMPLES = 1_000

interface WindowCounts {
  start: number
  counter: GroupCounter
  first: number
  last: number
}

/** The counts of the offsets `[from, to)` of one partition. */
export class Range {
  readonly windows = new Map<number, WindowCounts>()
  readonly late = new Map<number, GroupCounter>()
  readonly rejected = new Map<RejectionReason | 'lost_to_retention', number>()
  readonly samples: [number, string][] = []
  readonly totals: RangeTotals = { records: 0, hits: 0, late: 0, rejected: 0 }
  to: number
  toBasis: Basis
  private newest: WindowCounts | undefined

  constructor(
    readonly partition: number,
    readonly epoch: number,
    readonly from: number,
    readonly fromBasis: Basis,
  ) {
    this.to = from
    this.toBasis = fromBasis
  }

  /** The counts of a window, made now where there are none. */
  window(start: number, offset: number, names: (start: number) => Names): WindowCounts {
    // Nearly always the window of the event before.
    if (this.newest?.start === start) return this.newest
    let window = this.windows.get(start)
    if (!window) {
      window = { start, counter: new GroupCounter(names(start)), first: offset, last: offset }
      this.windows.set(start, window)
    }
    return (this.newest = window)
  }

  countHit(window: WindowCounts, offset: number, event: LocatedEvent, words: Vocabulary): void {
    window.counter.count(event, words)
    window.last = offset
    this.totals.hits++
  }

  countLate(start: number, event: LocatedEvent, words: Vocabulary): void {
    let counter = this.late.get(start)
    if (!counter) this.late.set(start, (counter = new GroupCounter()))
    counter.count(event, words)
    this.totals.late++
  }

  countRejected(reason: RejectionReason, offset: number): void {
    this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + 1)
    if (this.samples.length < MAX_SAMPLES) this.samples.push([offset, reason])
    this.totals.rejected++
  }

  /** Records that retention removed before they were read; what is left begins at `earliest`. */
  countLost(earliest: number): void {
    const lost = earliest - this.to
    this.rejected.set('lost_to_retention', lost)
    this.samples.push([this.to, 'lost_to_retention'])
    this.totals.rejected += lost
    this.totals.records += lost
    this.to = earliest
  }

  /** Size of the late events, which the next one must not push over the bound of a message. */
  get lateBytes(): number {
    let bytes = 0
    for (const counter of this.late.values()) bytes += counter.encodedBytes
    return bytes
  }

  /** Size of a window's delta, at the most. */
  encodedBytes(start: number): number {
    return this.windows.get(start)!.counter.encodedBytes
  }

  delta(start: number): Delta {
    const { counter, first, last } = this.windows.get(start)!
    const { partition, from, fromBasis: basis } = this
    const { counts, unlocated } = publishable(counter.columns())
    return {
      partition,
      from,
      basis,
      first,
      last,
      hits: counter.hits,
      ...(unlocated > 0 && { unlocated }),
      ...counts,
    }
  }

  exceptions(): RangeExceptions | undefined {
    if (this.late.size === 0 && this.rejected.size === 0) return undefined
    return {
      partition: this.partition,
      from: this.from,
      late: [...this.late].map(([start, counter]) => ({
        windowStart: start,
        ...publishable(counter.columns()).counts,
      })),
      rejected: Object.fromEntries(this.rejected),
      samples: this.samples,
    }
  }
}

/**
 * What a poller holds of one partition, from its claim to the loss of it: the place in the log, the watermark's
 * basis there, and the counts since the last cut.
 */
export class PartitionReader {
  readonly partition: number
  readonly epoch: number
  private range: Range
  /** While a range that was announced before is re-read: its end, past which nothing may be taken. */
  private limit: number | null
  /** Of the windows that still take hits. */
  private readonly named = new Map<number, NamedGroups>()

  /** @param earliest the first offset that Kafka still has: what was to be read before it is counted as lost */
  constructor(
    claimed: Claimed,
    private readonly rules: ReaderRules,
    private readonly earliest = 0,
    private readonly events = new EventReader(rules),
  ) {
    this.partition = claimed.partition
    this.epoch = claimed.epoch
    this.limit = claimed.announcedTo
    this.range = new Range(claimed.partition, claimed.epoch, claimed.position, claimed.basis)
    this.countLost()
  }

  /** The next offset to read. */
  get position(): number {
    return this.range.to
  }

  get basis(): Basis {
    return this.range.toBasis
  }

  /**
   * Counts records of a fetch, and returns how many of them it could take: the range has to be cut before the next.
   * Records before the position are passed over: they are done.
   *
   * @param next offset after the last one that the fetch covers, records that Kafka keeps to itself included
   *   (transaction markers, aborted and compacted records)
   */
  take(records: readonly LogRecord[], next: number): number {
    const end = this.limit === null ? next : Math.min(next, this.limit)
    for (let i = 0; i < records.length; i++) {
      const record = records[i]!
      if (record.offset < this.range.to) continue
      if (record.offset >= end) {
        this.range.to = Math.max(this.range.to, end)
        return i
      }
      if (!this.count(record)) return i
      this.range.to = record.offset + 1
    }
    this.range.to = Math.max(this.range.to, end)
    return records.length
  }

  /** Whether nothing was read since the last cut. */
  get empty(): boolean {
    return this.range.to === this.range.from
  }

  /** Whether a range that was announced before is not yet read to its end: it may not be cut sooner. */
  get rereading(): boolean {
    return this.limit !== null && this.range.to < this.limit
  }

  get pendingRecords(): number {
    return this.range.totals.records
  }

  /** Ends the range at the position and begins the next; undefined where there is nothing to announce. */
  cut(): Range | undefined {
    const range = this.range
    // Whoever claimed before may have sent deltas of exactly this range: a shorter one would overlap them.
    if (this.empty || this.rereading) return undefined
    this.limit = null
    this.range = new Range(this.partition, this.epoch, range.to, range.toBasis)
    this.countLost()
    for (const start of this.named.keys()) if (this.isLate(start)) this.named.delete(start)
    return range
  }

  /** A range that was announced before ends where it was said to end, also where retention went beyond it. */
  private countLost(): void {
    const until = Math.min(this.earliest, this.limit ?? Infinity)
    if (this.position < until) this.range.countLost(until)
  }

  private isLate(start: number): boolean {
    return isLate(start + this.rules.windowSize, this.range.toBasis, this.rules)
  }

  private readonly names = (start: number): Names => {
    const { maxGroups, hashKey } = this.rules
    let named = this.named.get(start)
    if (!named) this.named.set(start, (named = new NamedGroups(maxGroups, hashKey)))
    return named
  }

  /** False where the event would make its range or message too large. */
  private count(record: LogRecord): boolean {
    const { range, rules, events } = this
    const event = events.read(record.value, record.timestamp)
    if (typeof event === 'string') range.countRejected(event, record.offset)
    else {
      const start = windowStart(event.eventTime, rules.windowSize)
      if (this.isLate(start)) {
        if (this.isFull(range.late, start) || this.isTooLarge(range.lateBytes)) return false
        range.countLate(start, event, events.words)
      } else {
        if (this.isFull(range.windows, start)) return false
        const window = range.window(start, record.offset, this.names)
        if (this.isTooLarge(window.counter.encodedBytes)) return false
        range.countHit(window, record.offset, event, events.words)
        range.toBasis = advance(range.toBasis, event.eventTime, record.timestamp)
      }
    }
    range.totals.records++
    return true
  }

  private isFull(windows: ReadonlyMap<number, unknown>, start: number): boolean {
    return this.limit === null && windows.size >= MAX_WINDOWS && !windows.has(start)
  }

  private isTooLarge(bytes: number): boolean {
    // While re-reading, the end is given: it was chosen under the same bound.
    return this.limit === null && bytes > MAX_DELTA_BYTES
  }
}
