import { GroupCounter } from '../counts/columnar'
import type { EventReader } from '../event/event-reader'
import type { DeltaExceptions, RangeExceptions } from './protocol'
import { firstGroups } from '../counts/group-limit'
import type { LogRecord } from '../event/log-record'
import { PartitionReader, type ReaderRules } from './partition-reader'
import { isLate, type MaxEventTime } from './watermark'

/** A stretch `[from, to)` of a partition's log in which the records of one window lie. */
export interface LogStretch {
  partition: number
  from: number
  to: number
  /** The watermark's basis at `from`. */
  basis: MaxEventTime
  /** Hits from this offset on came after the window had closed: they are late. `to` where there are none. */
  hitsTo: number
}

/** What a stretch has of the window. */
export interface CountedStretch extends LogStretch {
  /** The last offset that is a hit, and the last that is one of the window's at all; `from - 1` where none is. */
  lastHit: number
  last: number
  hits: number
  exceptions: RangeExceptions
  /** Late and rejected records; those that retention removed before they could be read are not among them. */
  records: number
  /** Records that Kafka no longer has, if the window was the current one when it was to read them. */
  lost: number
}

const LOST = 'lost_to_retention'
/** Rejected records that are named, of each stretch; the newest. */
const MAX_NAMED = 10_000

/** Counts one window again from the log: its hits, and the exceptions that were read while it was the current window. */
export class WindowRecount {
  readonly counter: GroupCounter

  constructor(
    readonly start: number,
    private readonly rules: ReaderRules,
    private readonly events: EventReader,
  ) {
    this.counter = new GroupCounter(firstGroups(rules.maxGroups))
  }

  /** @param earliest the first offset that Kafka still has */
  stretch(stretch: LogStretch, earliest: number): StretchRecount {
    return new StretchRecount(this.start, stretch, earliest, this.rules, this.events, this.counter)
  }
}

export class StretchRecount {
  private readonly reader: PartitionReader
  private readonly late = new Map<number, GroupCounter>()
  private readonly rejected = new Map<string, number>()
  private samples: [number, string][] = []
  private records = 0
  private lost = 0
  private hits = 0
  private lastHit: number
  private last: number

  constructor(
    private readonly start: number,
    private readonly given: LogStretch,
    earliest: number,
    private readonly rules: ReaderRules,
    events: EventReader,
    private readonly counter: GroupCounter,
  ) {
    const { partition, from, basis, to } = given
    const claimed = { partition, epoch: 0, position: from, basis, announcedTo: null }
    // What is lost beyond the stretch is not this window's.
    this.reader = new PartitionReader(claimed, rules, Math.min(earliest, to), events)
    this.lastHit = this.last = from - 1
    this.settle()
  }

  /** The next offset to read. */
  get position(): number {
    return this.reader.position
  }

  /** Whether no record from the position on can be one of the window's. */
  get done(): boolean {
    const { start, rules, reader, given } = this
    return reader.position >= given.to || isLate(start + rules.windowSize, reader.basis, rules)
  }

  /** Takes the records of a fetch that covers everything before `next`; whether the rest is not needed. */
  read(records: readonly LogRecord[], next: number): boolean {
    let rest = records
    for (;;) {
      if (this.done) return true
      const { hitsTo, to } = this.given
      // A range ends where hits are none of the window's any more.
      const end = Math.min(next, to, this.position < hitsTo ? hitsTo : Infinity)
      const beyond = rest.findIndex(({ offset }) => offset >= end)
      const part = beyond < 0 ? rest : rest.slice(0, beyond)
      const taken = this.reader.read(part, end)
      this.settle()
      rest = rest.slice(taken)
      if (taken < part.length || (this.position < next && this.position < to)) continue
      return this.done
    }
  }

  private settle(): void {
    const range = this.reader.cut()
    if (!range?.windows.has(this.start)) return
    const { hits, exceptions, last, ...counts } = range.delta(this.start)
    this.last = last
    if (hits > 0 && range.from < this.given.hitsTo) {
      this.counter.addAll(counts)
      this.hits += hits
      this.lastHit = last
    }
    if (exceptions) this.add(exceptions)
  }

  private add({ late, rejected, samples }: DeltaExceptions): void {
    for (const { windowStart, ...counts } of late) {
      let counter = this.late.get(windowStart)
      if (!counter) this.late.set(windowStart, (counter = new GroupCounter()))
      const before = counter.hits
      counter.addAll(counts)
      this.records += counter.hits - before
    }
    for (const [reason, records] of Object.entries(rejected))
      if (reason === LOST) this.lost += records
      else {
        this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + records)
        this.records += records
      }
    this.samples.push(...samples)
    if (this.samples.length > MAX_NAMED) this.samples = this.samples.slice(-MAX_NAMED)
  }

  /** @param withLost whether what Kafka no longer has was lost before it was read, and is one of the exceptions */
  counted(withLost = false): CountedStretch {
    const { given, hits, lastHit, last, lost } = this
    const { partition, from } = given
    const rejected = Object.fromEntries(this.rejected)
    if (withLost && lost > 0) rejected[LOST] = lost
    const exceptions: RangeExceptions = {
      partition,
      from,
      window: this.start,
      late: [...this.late].map(([windowStart, counter]) => ({ windowStart, ...counter.columns() })),
      rejected,
      samples: this.samples.filter(([, reason]) => withLost || reason !== LOST),
    }
    const records = this.records + (withLost ? lost : 0)
    return { ...given, hits, lastHit, last, exceptions, records, lost }
  }
}
