import { EventReader, type LocatedEvent, type LocatingRules } from '../event/event-reader'
import type { LogRecord, OffsetSpan } from '../event/log-record'
import type { MissingReason } from '../event/event'
import { invariant } from '../invariant'
import { GroupLimits } from './group-limits'
import { fingerprintOf, type LogFingerprint } from './log-fingerprint'
import { OffsetRange } from './offset-range'
import type { Claimed, RangeSums } from './protocol'
import { areSameTotals } from './totals'
import { windowStart } from './tumbling-window'
import { advance, isBehind, isLate, type MaxEventTime } from './watermark'

export interface ReaderRules extends LocatingRules {
  windowSize: number
  watermarkDelay: number
  allowedLateness: number
  maxGroups: number
}

/** A range is cut before the encoded counts of one window, or of its late events, exceed this. */
const MAX_DELTA_BYTES = 900_000

/** A range is cut before the encoded counts of all its windows exceed this; they are in memory until they are sent. */
const MAX_RANGE_BYTES = 4_000_000

/**
 * A range is cut before it has counts of more windows than this, or late events for more: one message names all of them,
 * and each has a workflow that receives a delta.
 */
export const MAX_WINDOWS = 1_000

/** Reads one partition from a claim on: the position, the watermark's basis there, and the counts since the last cut. */
export class PartitionReader {
  readonly partition: number
  readonly epoch: number
  private range: OffsetRange
  /** End of a range that was announced before, while it is re-read; the range must end exactly there. */
  private limit: number | null
  /** What that range had when it was announced. */
  private announced: RangeSums | undefined
  private readonly groupLimits: GroupLimits
  private last: LogFingerprint | undefined

  /** @param earliest the first offset that Kafka still has; earlier records are counted as lost */
  constructor(
    claimed: Claimed,
    private readonly rules: ReaderRules,
    private readonly earliest = 0,
    private readonly events = new EventReader(rules),
  ) {
    this.partition = claimed.partition
    this.epoch = claimed.epoch
    this.limit = claimed.announcedTo
    this.announced = claimed.announced
    this.last = claimed.fingerprint
    this.groupLimits = new GroupLimits(rules.maxGroups, rules.hashKey)
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

  /** Of the last record before the position, if known. */
  get fingerprint(): LogFingerprint | undefined {
    return this.last
  }

  /**
   * Counts the records of a fetch, skipping those before the position.
   *
   * @param next offset after the last one that the fetch covers. Offsets without a record are passed over: transaction
   *   markers and the records of aborted transactions.
   * @param removed those of the offsets without a record whose record was removed by compaction, in order; they count
   * @returns how many records it took; if not all, the range must be cut before the next one
   */
  read(records: readonly LogRecord[], next: number, removed: readonly OffsetSpan[] = []): number {
    const { position } = this
    const taken = this.takeRecords(records, next, removed)
    const last = records[taken - 1]
    if (last && last.offset >= position) this.last = fingerprintOf(last)
    return taken
  }

  private takeRecords(records: readonly LogRecord[], next: number, removed: readonly OffsetSpan[]): number {
    const end = this.limit === null ? next : Math.min(next, this.limit)
    for (let i = 0; i < records.length; i++) {
      const record = records[i]!
      if (record.offset < this.range.to) continue
      if (record.offset >= end) {
        this.passTo(end, removed)
        return i
      }
      if (record.offset > this.range.to) this.passTo(record.offset, removed)
      if (!this.count(record)) return i
      this.range.to = record.offset + 1
    }
    this.passTo(end, removed)
    return records.length
  }

  /** Moves the position to an offset before which there is no further record. */
  private passTo(offset: number, removed: readonly OffsetSpan[]): void {
    for (let i = firstEndingAfter(this.range.to, removed); i < removed.length; i++) {
      const span = { from: Math.max(removed[i]!.from, this.range.to), to: Math.min(removed[i]!.to, offset) }
      if (span.from >= span.to) break
      this.countMissing(span, 'removed_by_compaction')
    }
    this.range.to = Math.max(this.range.to, offset)
  }

  /** Whether nothing was read since the last cut. */
  get empty(): boolean {
    return this.range.to === this.range.from
  }

  /** Whether the end of a range that was announced before is not reached yet. */
  get rereading(): boolean {
    return this.limit !== null && this.range.to < this.limit
  }

  get pendingRecords(): number {
    return this.range.totals.records
  }

  /** Size of the encoded counts since the last cut. */
  get pendingBytes(): number {
    return this.range.hitBytes + this.range.lateBytes
  }

  /** Ends the range at the position and begins the next; undefined if there is nothing to announce. */
  cut(): OffsetRange | undefined {
    // Deltas of the announced range may have been sent before; those of a shorter one would overlap them.
    if (this.empty || this.rereading) return undefined
    const range = this.isAsAnnounced ? this.range : this.range.asAnnounced(this.announced!)
    invariant(this.limit === null || range.to === this.limit, 'a re-read range ends where it was announced')
    invariant(!isBehind(range.toBasis, range.fromBasis), 'the watermark of a partition never moves back')
    this.limit = null
    this.announced = undefined
    if (this.last) range.fingerprint = this.last
    this.range = new OffsetRange(this.partition, this.epoch, range.to, range.toBasis)
    this.countLost()
    this.groupLimits.drop(start => this.isLate(start))
    return range
  }

  /**
   * Kafka may have removed records of an announced range before it was read again. The windows that have its counts must
   * not count those records again, as missing, and the others need a repair.
   */
  private get isAsAnnounced(): boolean {
    if (!this.announced) return true
    const { basis, totals } = this.range.sums
    return basis === this.announced.basis && areSameTotals(totals, this.announced.totals)
  }

  /** A re-read range keeps its announced end even if retention went beyond it. */
  private countLost(): void {
    const until = Math.min(this.earliest, this.limit ?? Infinity)
    if (this.position < until) this.countMissing({ from: this.position, to: until }, 'lost_to_retention')
  }

  /** Never makes a range too large: only the window that was current at its start can come on top of MAX_WINDOWS. */
  private countMissing(span: OffsetSpan, reason: MissingReason): void {
    this.range.countMissing(this.windowOf(this.currentWindow, span.from), span, reason)
  }

  /**
   * Start of the window that contains the watermark's basis; it carries the exceptions. It depends on the log alone and
   * cannot have closed unless the partition was idle. Before a partition's first event it is that of 1970.
   */
  private get currentWindow(): number {
    return windowStart(this.range.toBasis ?? 0, this.rules.windowSize)
  }

  private windowOf(start: number, offset: number) {
    return this.range.window(start, offset, this.groupLimits)
  }

  private isLate(start: number): boolean {
    return isLate(start + this.rules.windowSize, this.range.toBasis, this.rules)
  }

  /** Returns false if the event would make the range or a message too large. */
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
        if (this.isTooLarge(window.bytes) || this.isTooLarge(range.hitBytes, MAX_RANGE_BYTES)) return false
        range.countHit(window, record.offset, event, events.interners)
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
    range.countLate(this.windowOf(current, record.offset), record.offset, start, event, events.interners)
    return true
  }

  private isFull(windows: { size: number; has: (start: number) => boolean }, start: number): boolean {
    return this.limit === null && windows.size >= MAX_WINDOWS && !windows.has(start)
  }

  /** A re-read range has a fixed end; what is too large for a message then is staged in Postgres. */
  private isTooLarge(bytes: number, max = MAX_DELTA_BYTES): boolean {
    return this.limit === null && bytes > max
  }
}

/** Index of the first span that ends after the offset. Binary search, because a fetch may have thousands of spans. */
function firstEndingAfter(offset: number, spans: readonly OffsetSpan[]): number {
  let from = 0
  let to = spans.length
  while (from < to) {
    const middle = (from + to) >> 1
    if (spans[middle]!.to <= offset) from = middle + 1
    else to = middle
  }
  return from
}
