import { EventReader } from '../event/event-reader'
import { invariant } from '../invariant'
import type { OffsetRange } from './offset-range'
import { MAX_WINDOWS, PartitionReader, type ReaderRules } from './partition-reader'
import type { Announcement, Claimed, Delta, FlushAnswer, FlushRequest, PartitionFlush } from './protocol'

export interface IdleClaim {
  partition: number
  position: number
  at: number
}

/** A delta with an upper bound of its size as JSON. */
export interface SizedDelta {
  delta: Delta
  bytes: number
}

/** The deltas of an accepted flush, by start of the window. */
export type Outgoing = Map<number, SizedDelta[]>

/** Upper bound of the size of all deltas as JSON. */
export function bytesOf(outgoing: Outgoing): number {
  return [...outgoing.values()].flat().reduce((sum, { bytes }) => sum + bytes, 0)
}

/** Windows that one flush announces over all partitions; ranges of further partitions wait for the next flush. */
export const MAX_ANNOUNCED = 4_000

/**
 * A poller's partitions, and their ranges in the order that counting exactly once rests on:
 *
 * 1. {@link plan} announces ranges to the ledger, so that it knows every window before its first delta.
 * 2. {@link accepted} returns the deltas of the ranges that the ledger accepted. A delta of any other range would not be
 *    recognised when another poller reads the range again.
 * 3. {@link signalled} is called once the windows have accepted all of them. Only then does the next plan report the
 *    ranges as done, because the ledger then closes windows and forgets the ranges.
 */
export class PollerState {
  private readers = new Map<number, PartitionReader>()
  /** Ranges of the plan in flight; undefined if there is none. */
  private planned: OffsetRange[] | undefined
  /** Ranges that the ledger accepted and whose deltas may be on their way. */
  private announced = new Map<number, OffsetRange>()
  /** Ranges whose deltas all arrived; the next flush reports them. */
  private done = new Map<number, OffsetRange>()
  private lastAnnounced: number | undefined
  /** Shared by all partitions for its caches. */
  private readonly events: EventReader

  constructor(
    readonly poller: number,
    private readonly rules: ReaderRules,
  ) {
    this.events = new EventReader(rules)
  }

  /**
   * Replaces every earlier assignment and drops its counts, which now belong to the next claim.
   *
   * @param earliest the first offset that Kafka still has, by partition
   */
  assign(claims: Claimed[], earliest: ReadonlyMap<number, number>): void {
    this.readers.clear()
    this.announced.clear()
    this.done.clear()
    this.planned = undefined
    for (const claimed of claims) {
      const { partition } = claimed
      const reader = new PartitionReader(claimed, this.rules, earliest.get(partition), this.events)
      this.readers.set(partition, reader)
    }
  }

  reader(partition: number): PartitionReader | undefined {
    return this.readers.get(partition)
  }

  get partitions(): PartitionReader[] {
    return [...this.readers.values()]
  }

  /** Whether there are ranges to announce or to report as done. */
  get pending(): boolean {
    return this.done.size > 0 || this.partitions.some(reader => !reader.empty && !reader.rereading)
  }

  /** Whether everything that was read of a partition was reported as done. */
  isSettled(partition: number): boolean {
    const isEmpty = this.readers.get(partition)?.empty === true
    return isEmpty && !this.announced.has(partition) && !this.done.has(partition)
  }

  /** The next flush; undefined if there is nothing to report. Its answer must arrive before the next plan. */
  plan(partitionCount: number, idle: IdleClaim[] = []): FlushRequest | undefined {
    invariant(!this.planned, 'a poller has at most one plan in flight')
    const partitions: PartitionFlush[] = []
    const planned: OffsetRange[] = []
    let windows = 0
    for (const reader of this.readersInTurn()) {
      const { partition, epoch } = reader
      const flush: PartitionFlush = { partition, epoch }
      const done = this.done.get(partition)
      if (done) flush.done = reportOf(done)
      const hasRoom = windows + MAX_WINDOWS <= MAX_ANNOUNCED
      const range = this.announced.has(partition) || !hasRoom ? undefined : reader.cut()
      if (range) {
        flush.announce = announcementOf(range)
        windows += range.windows.size
        planned.push(range)
        this.lastAnnounced = partition
      }
      const claim = idle.find(claim => claim.partition === partition)
      if (claim && !range) flush.idle = { position: claim.position, at: claim.at }
      if (flush.done || flush.announce || flush.idle) partitions.push(flush)
    }
    if (partitions.length === 0) return undefined
    this.planned = planned
    return { poller: this.poller, partitionCount, partitions }
  }

  /** Begins after the partition that was announced last, so that each has its turn. */
  private readersInTurn(): PartitionReader[] {
    const readers = this.partitions
    const next = readers.findIndex(({ partition }) => partition === this.lastAnnounced) + 1
    return [...readers.slice(next), ...readers.slice(0, next)]
  }

  /** Takes the ledger's answer to the plan, and drops the partitions that it refused. */
  accepted({ refused }: FlushAnswer): Outgoing {
    const { planned } = this
    invariant(planned !== undefined, 'the ledger answers a plan that is in flight')
    this.planned = undefined
    for (const partition of refused) this.readers.delete(partition)
    this.done.clear()
    const outgoing: Outgoing = new Map()
    for (const range of planned) {
      const { partition } = range
      if (refused.includes(partition)) continue
      invariant(
        this.readers.get(partition)?.epoch === range.epoch && !this.announced.has(partition),
        'a partition has one range on its way, of its current epoch',
      )
      this.announced.set(partition, range)
      for (const start of range.windows.keys()) {
        const sized = { delta: range.delta(start), bytes: range.encodedBytes(start) }
        const deltas = outgoing.get(start)
        if (deltas) deltas.push(sized)
        else outgoing.set(start, [sized])
      }
    }
    return outgoing
  }

  /** The ranges that the next flush reports as done. */
  get doneRanges(): OffsetRange[] {
    return [...this.done.values()]
  }

  /** The windows have accepted all deltas of the last flush. */
  signalled(): void {
    for (const [partition, range] of this.announced) this.done.set(partition, range)
    this.announced.clear()
  }
}

function reportOf({ to, sums, fingerprint }: OffsetRange): NonNullable<PartitionFlush['done']> {
  return { to, ...sums, ...(fingerprint && { fingerprint }) }
}

function announcementOf(range: OffsetRange): Announcement {
  const { from, to, sums } = range
  const windows = [...range.windows.keys()]
  const byWindow = windows.map(start => range.sumsOf(start))
  return {
    ...{ from, to, sums, windows },
    hits: byWindow.map(({ hits }) => hits),
    exceptions: byWindow.map(({ exceptions }) => exceptions),
  }
}
