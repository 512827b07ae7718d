import { GroupCounter } from '../counts/columnar'
import type { RejectionReason } from '../event/event'
import { CountedExceptions } from '../counts/counted-exceptions'
import { EventReader, type LocatedEvent, type LocatingRules } from '../event/event-reader'
import type { Claimed, Delta, RangeTotals, Sums } from './protocol'
import { fingerprintOf, type LogFingerprint } from './log-fingerprint'
import type { LogRecord } from '../event/log-record'
import { GroupLimit } from '../counts/group-limit'
import { windowStart } from './tumbling-window'
import { publishable } from '../counts/unknown-country'
import type { Interners } from '../counts/string-interning'
import { advance, isLate, type MaxEventTime } from './watermark'
import type { GroupPolicy } from '../counts/dictionary'

export interface ReaderRules extends LocatingRules {
  windowSize: number
  watermarkDelay: number
  allowedLateness: number
  maxGroups: number
}

/** A range is cut before the encoded counts of one window, or of its late events, grow beyond this. */
export const MAX_DELTA_BYTES = 900_000

/**
 * A range is cut before it has counts of more windows than this, or late events of more: all of them are named in one
 * message, and each has a workflow that receives them.
 */
export const MAX_WINDOWS = 1_000

/** At most this many rejected records of a range are named one by one; their counts are always exact. */
export const MAX_SAMPLES = 1_000

/** A delta as JSON without its counts and exceptions, at most. */
const FRAME_BYTES = 256

/** What a range brings to one window: hits in it, and exceptions that were read while it was the current one. */
interface WindowCounts {
  start: number
  counter: GroupCounter
  exceptions: CountedExceptions | undefined
  first: number
  last: number
}

/** The counts of the offsets `[from, to)` of one partition. */
export class OffsetRange {
  readonly windows = new Map<number, WindowCounts>()
  readonly totals: RangeTotals = { records: 0, hits: 0, late: 0, rejected: 0 }
  /** Late events: the windows they were for, and the bytes of their counts. */
  readonly lateFor = new Set<number>()
  lateBytes = 0
  to: number
  toBasis: MaxEventTime
  /** Of the last record before `to`, where one is known. */
  fingerprint?: LogFingerprint
  private samples = 0
  private newest: WindowCounts | undefined

  constructor(
    readonly partition: number,
    readonly epoch: number,
    readonly from: number,
    readonly fromBasis: MaxEventTime,
  ) {
    this.to = from
    this.toBasis = fromBasis
  }

  /** The counts of a window, made now where there are none. */
  window(start: number, offset: number, names: (start: number) => GroupPolicy): WindowCounts {
    // Nearly always the window of the event before.
    if (this.newest?.start === start) return this.newest
    let window = this.windows.get(start)
    if (!window) {
      const counter = new GroupCounter(names(start))
      window = { start, counter, exceptions: undefined, first: offset, last: offset }
      this.windows.set(start, window)
    }
    return (this.newest = window)
  }

  countHit(window: WindowCounts, offset: number, event: LocatedEvent, words: Interners): void {
    window.counter.count(event, words)
    window.last = offset
    this.totals.hits++
  }

  /** @param window the current one, not the one that the event is too late for */
  countLate(
    window: WindowCounts,
    offset: number,
    lateFor: number,
    event: LocatedEvent,
    words: Interners,
  ): void {
    this.lateFor.add(lateFor)
    this.lateBytes += (window.exceptions ??= new CountedExceptions()).countLate(lateFor, event, words)
    window.last = offset
    this.totals.late++
  }

  countRejected(window: WindowCounts, offset: number, reason: RejectionReason): void {
    const named = this.samples < MAX_SAMPLES
    if (named) this.samples++
    ;(window.exceptions ??= new CountedExceptions()).countRejected(reason, named ? offset : undefined)
    window.last = offset
    this.totals.rejected++
  }

  /** Records that retention removed before they were read; what is left begins at `earliest`. */
  countLost(window: WindowCounts, earliest: number): void {
    const lost = earliest - this.to
    ;(window.exceptions ??= new CountedExceptions()).countRejected('lost_to_retention', this.to, lost)
    this.samples++
    window.last = earliest - 1
    this.totals.rejected += lost
    this.totals.records += lost
    this.to = earliest
  }

  /** What a window's delta takes in a message, at most. Bytes. */
  encodedBytes(start: number): number {
    const { counter, exceptions } = this.windows.get(start)!
    return counter.encodedBytes + FRAME_BYTES + (exceptions?.encodedBytes ?? 0)
  }

  /** Hits and exceptions for a window. */
  sumsOf(start: number): Sums {
    const { counter, exceptions } = this.windows.get(start)!
    return { hits: counter.hits, exceptions: exceptions?.records ?? 0 }
  }

  delta(start: number): Delta {
    const { counter, exceptions, first, last } = this.windows.get(start)!
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
      ...(exceptions && { exceptions: exceptions.toMessage() }),
      ...counts,
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
  private range: OffsetRange
  /** While a range that was announced before is re-read: its end, past which nothing may be taken. */
  private limit: number | null
  /** Of the windows that still take hits. */
  private readonly named = new Map<number, GroupLimit>()
  private last: LogFingerprint | undefined

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
    this.last = claimed.fingerprint
    this.range = new OffsetRange(claimed.partition, claimed.epoch, claimed.position, claimed.basis)
    this.countLost()
  }

  /** The next offset to read. */
  get position(): number {
    return this.range.to
  }

  get basis(): MaxEventTime {
    return this.range.toBasis
  }

  /** Of the last record before the position, where one is known. */
  get fingerprint(): LogFingerprint | undefined {
    return this.last
  }

  /**
   * Counts records of a fetch, and returns how many of them it could take: the range has to be cut before the next.
   * Records before the position are passed over: they are done.
   *
   * @param next offset after the last one that the fetch covers, records that Kafka keeps to itself included
   *   (transaction markers, aborted and compacted records)
   */
  read(records: readonly LogRecord[], next: number): number {
    const { position } = this
    const taken = this.takeRecords(records, next)
    const last = records[taken - 1]
    if (last && last.offset >= position) this.last = fingerprintOf(last)
    return taken
  }

  private takeRecords(records: readonly LogRecord[], next: number): number {
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
  cut(): OffsetRange | undefined {
    const range = this.range
    // Whoever claimed before may have sent deltas of exactly this range: a shorter one would overlap them.
    if (this.empty || this.rereading) return undefined
    this.limit = null
    if (this.last) range.fingerprint = this.last
    this.range = new OffsetRange(this.partition, this.epoch, range.to, range.toBasis)
    this.countLost()
    for (const start of this.named.keys()) if (this.isLate(start)) this.named.delete(start)
    return range
  }

  /** A range that was announced before ends where it was said to end, also where retention went beyond it. */
  private countLost(): void {
    const { range } = this
    const until = Math.min(this.earliest, this.limit ?? Infinity)
    if (range.to < until) range.countLost(this.windowOf(this.currentWindow, range.to), until)
  }

  /**
   * Start of the window that exceptions travel to: that of the watermark's basis at their place, which is a function of
   * the log. It cannot have closed unless the partition was idle. Before a partition's first event it is that of 1970.
   */
  private get currentWindow(): number {
    return windowStart(this.range.toBasis ?? 0, this.rules.windowSize)
  }

  private windowOf(start: number, offset: number): WindowCounts {
    return this.range.window(start, offset, this.names)
  }

  private isLate(start: number): boolean {
    return isLate(start + this.rules.windowSize, this.range.toBasis, this.rules)
  }

  private readonly names = (start: number): GroupPolicy => {
    const { maxGroups, hashKey } = this.rules
    let named = this.named.get(start)
    if (!named) this.named.set(start, (named = new GroupLimit(maxGroups, hashKey)))
    return named
  }

  /** False where the event would make its range or message too large. */
  private count(record: LogRecord): boolean {
    const { range, rules, events } = this
    const event = events.read(record.value, record.timestamp)
    if (typeof event === 'string') {
      const current = this.currentWindow
      if (this.isFull(range.windows, current)) return false
      range.countRejected(this.windowOf(current, record.offset), record.offset, event)
    } else {
      const start = windowStart(event.eventTime, rules.windowSize)
      if (this.isLate(start)) {
        if (!this.countLate(start, record, event)) return false
      } else {
        if (this.isFull(range.windows, start)) return false
        const window = this.windowOf(start, record.offset)
        if (this.isTooLarge(window.counter.encodedBytes)) return false
        range.countHit(window, record.offset, event, events.words)
        range.toBasis = advance(range.toBasis, event.eventTime, record.timestamp)
      }
    }
    range.totals.records++
    return true
  }

  private countLate(start: number, record: LogRecord, event: LocatedEvent): boolean {
    const { range, events } = this
    const current = this.currentWindow
    if (this.isFull(range.windows, current) || this.isFull(range.lateFor, start)) return false
    if (this.isTooLarge(range.lateBytes)) return false
    range.countLate(this.windowOf(current, record.offset), record.offset, start, event, events.words)
    return true
  }

  private isFull(windows: { size: number; has: (start: number) => boolean }, start: number): boolean {
    return this.limit === null && windows.size >= MAX_WINDOWS && !windows.has(start)
  }

  private isTooLarge(bytes: number): boolean {
    // While re-reading, the end is given. Whatever is larger for it goes to Postgres, and not into a message.
    return this.limit === null && bytes > MAX_DELTA_BYTES
  }
}
