import { GroupCounter } from '../counts/columnar'
import { CountedExceptions } from '../counts/counted-exceptions'
import type { Interners } from '../counts/string-interning'
import { publishable } from '../counts/unknown-country'
import type { MissingReason, RejectionReason } from '../event/event'
import type { LocatedEvent } from '../event/event-reader'
import type { OffsetSpan } from '../event/log-record'
import type { GroupLimits } from './group-limits'
import type { LogFingerprint } from './log-fingerprint'
import type { Delta, RangeSums, RangeTotals, Sums } from './protocol'
import type { MaxEventTime } from './watermark'

/** Rejected records of a range that are sampled; their counts are always exact. */
const MAX_SAMPLES = 1_000

/** Upper bound of a delta as JSON without its counts and exceptions. */
const FRAME_BYTES = 256

/** What a range brings to one window: hits, and exceptions that were read while it was the current window. */
interface WindowCounts {
  start: number
  counter: GroupCounter
  /** Size of the counter's counts. */
  bytes: number
  exceptions: CountedExceptions | undefined
  first: number
  last: number
}

/** The counts of the offsets `[from, to)` of one partition. */
export class OffsetRange {
  readonly windows = new Map<number, WindowCounts>()
  totals: RangeTotals = { records: 0, hits: 0, late: 0, rejected: 0 }
  /** Starts of the windows that late events belong to. */
  readonly lateFor = new Set<number>()
  /** Size of the counts of all windows, without late events. */
  hitBytes = 0
  /** Size of the late events' counts. */
  lateBytes = 0
  to: number
  toBasis: MaxEventTime
  /** Of the last record before `to`, if known. */
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

  get sums(): RangeSums {
    return { basis: this.toBasis, totals: this.totals }
  }

  /** The range as it was announced, without counts for any window. */
  asAnnounced({ basis, totals }: RangeSums): OffsetRange {
    const range = new OffsetRange(this.partition, this.epoch, this.from, this.fromBasis)
    return Object.assign(range, { to: this.to, toBasis: basis, totals })
  }

  /** Whether it has no counts although it has records, see {@link asAnnounced}. */
  get isWithoutCounts(): boolean {
    return this.windows.size === 0 && this.totals.records > 0
  }

  /** The counts of a window; adds them if there are none. */
  window(start: number, offset: number, limits: GroupLimits): WindowCounts {
    // Nearly always the same window as for the previous event.
    if (this.newest?.start === start) return this.newest
    let window = this.windows.get(start)
    if (!window) {
      const counter = new GroupCounter(limits.of(start))
      window = { start, counter, bytes: 0, exceptions: undefined, first: offset, last: offset }
      this.windows.set(start, window)
    }
    return (this.newest = window)
  }

  countHit(window: WindowCounts, offset: number, event: LocatedEvent, interners: Interners): void {
    const { counter } = window
    counter.count(event, interners)
    const bytes = counter.encodedBytes
    this.hitBytes += bytes - window.bytes
    window.bytes = bytes
    window.last = offset
    this.totals.hits++
  }

  /**
   * @param window the current window, which carries the event
   * @param lateFor start of the window that the event is too late for
   */
  countLate(
    window: WindowCounts,
    offset: number,
    lateFor: number,
    event: LocatedEvent,
    interners: Interners,
  ): void {
    this.lateFor.add(lateFor)
    this.lateBytes += (window.exceptions ??= new CountedExceptions()).countLate(lateFor, event, interners)
    window.last = offset
    this.totals.late++
  }

  countRejected(window: WindowCounts, offset: number, reason: RejectionReason): void {
    const isSample = this.samples < MAX_SAMPLES
    if (isSample) this.samples++
    ;(window.exceptions ??= new CountedExceptions()).countRejected(reason, isSample ? offset : undefined)
    window.last = offset
    this.totals.rejected++
  }

  /** Counts records that Kafka removed before they were read. The first of them is the sample for all. */
  countMissing(window: WindowCounts, { from, to }: OffsetSpan, reason: MissingReason): void {
    const exceptions = (window.exceptions ??= new CountedExceptions())
    const isSample = exceptions.rejectedFor(reason) === 0
    if (isSample) this.samples++
    exceptions.countRejected(reason, isSample ? from : undefined, to - from)
    window.last = to - 1
    this.totals.rejected += to - from
    this.totals.records += to - from
    this.to = to
  }

  /** Upper bound of a window's delta as JSON in bytes. */
  encodedBytes(start: number): number {
    const { counter, exceptions } = this.windows.get(start)!
    return counter.encodedBytes + FRAME_BYTES + (exceptions?.encodedBytes ?? 0)
  }

  sumsOf(start: number): Sums {
    const { counter, exceptions } = this.windows.get(start)!
    return { hits: counter.hits, exceptions: exceptions?.records ?? 0 }
  }

  delta(start: number): Delta {
    const { counter, exceptions, first, last } = this.windows.get(start)!
    const { partition, from, fromBasis: basis } = this
    const { counts, unlocated } = publishable(counter.columns())
    return {
      ...{ partition, from, basis, first, last },
      hits: counter.hits,
      ...(unlocated > 0 && { unlocated }),
      ...(exceptions && { exceptions: exceptions.toMessage() }),
      ...counts,
    }
  }
}
