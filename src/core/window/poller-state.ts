import type { Announcement, FlushAnswer, FlushRequest, Claimed, Delta, PartitionFlush } from './protocol'
import { EventReader } from '../event/event-reader'
import { MAX_WINDOWS, PartitionReader, type OffsetRange, type ReaderRules } from './partition-reader'

/** The word for the ledger that a range is done. */
export function doneOf({
  to,
  toBasis,
  totals,
  fingerprint,
}: OffsetRange): NonNullable<PartitionFlush['done']> {
  return { to, basis: toBasis, totals, ...(fingerprint && { fingerprint }) }
}

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

/** What an accepted flush allows to be sent: deltas by start of the window. */
export type Outgoing = Map<number, SizedDelta[]>

/** Upper bound of the size of its deltas as JSON. */
export function bytesOf(outgoing: Outgoing): number {
  return [...outgoing.values()].flat().reduce((sum, { bytes }) => sum + bytes, 0)
}

/**
 * Windows that one flush announces, over all its partitions: a range names {@link MAX_WINDOWS} at most, and the ranges
 * of further partitions wait for the next flush.
 */
export const MAX_ANNOUNCED = 4_000

/**
 * The state of one poller: its partitions, and the ranges on their way through the one order that carries
 * exactly-once:
 *
 * 1. {@link plan} announces the ranges to the ledger, so that it knows every window before its first delta.
 * 2. {@link accepted} hands out their deltas, and nothing that was refused: a delta of a range that was not
 *    announced could not be recognised when another poller reads the range again.
 * 3. {@link signalled} is told when all of them have been accepted; only then does the next plan say that the
 *    ranges are done, because the ledger closes windows on that word and forgets the ranges.
 */
export class PollerState {
  private readers = new Map<number, PartitionReader>()
  /** Announced and accepted; their deltas may be on their way. */
  private announced = new Map<number, OffsetRange>()
  /** Every delta accepted by its window; to be said with the next flush. */
  private done = new Map<number, OffsetRange>()
  private planned: OffsetRange[] = []
  private lastAnnounced: number | undefined
  /** What it remembers of hosts, referrers and addresses serves all partitions. */
  private readonly events: EventReader

  constructor(
    readonly poller: number,
    private readonly rules: ReaderRules,
  ) {
    this.events = new EventReader(rules)
  }

  /**
   * Takes the place of every earlier assignment: what was held of it belongs to whoever claims it next.
   *
   * @param earliest the first offset that Kafka still has, by partition
   */
  assign(claims: Claimed[], earliest: ReadonlyMap<number, number>): void {
    this.readers.clear()
    this.announced.clear()
    this.done.clear()
    this.planned = []
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

  /** Whether the ledger has yet to be told of anything: ranges to announce or to say done. */
  get pending(): boolean {
    return this.done.size > 0 || this.partitions.some(reader => !reader.empty && !reader.rereading)
  }

  /** Whether everything that was read of a partition is done, and said so. */
  isSettled(partition: number): boolean {
    return (
      this.readers.get(partition)?.empty === true &&
      !this.announced.has(partition) &&
      !this.done.has(partition)
    )
  }

  /** The next flush, or undefined where there is nothing to say. Only one may be under way. */
  plan(partitionCount: number, idle: IdleClaim[] = []): FlushRequest | undefined {
    const partitions: PartitionFlush[] = []
    this.planned = []
    let announced = 0
    for (const reader of this.readersInTurn()) {
      const { partition, epoch } = reader
      const flush: PartitionFlush = { partition, epoch }
      const done = this.done.get(partition)
      if (done) flush.done = doneOf(done)
      const hasRoom = announced + MAX_WINDOWS <= MAX_ANNOUNCED
      const range = this.announced.has(partition) || !hasRoom ? undefined : reader.cut()
      if (range) {
        flush.announce = announcementOf(range)
        announced += range.windows.size
        this.planned.push(range)
        this.lastAnnounced = partition
      }
      const claim = idle.find(claim => claim.partition === partition)
      if (claim && !range) flush.idle = { position: claim.position, at: claim.at }
      if (flush.done || flush.announce || flush.idle) partitions.push(flush)
    }
    if (partitions.length === 0) return undefined
    return { poller: this.poller, partitionCount, partitions }
  }

  /** Beginning after the partition that came last to be announced, so that each has its turn. */
  private readersInTurn(): PartitionReader[] {
    const readers = this.partitions
    const next = readers.findIndex(({ partition }) => partition === this.lastAnnounced) + 1
    return [...readers.slice(next), ...readers.slice(0, next)]
  }

  /** The ledger's answer to the plan; what it refused is dropped. */
  accepted(answer: FlushAnswer): Outgoing {
    for (const partition of answer.refused) this.readers.delete(partition)
    this.done.clear()
    const outgoing: Outgoing = new Map()
    for (const range of this.planned) {
      if (answer.refused.includes(range.partition)) continue
      this.announced.set(range.partition, range)
      for (const start of range.windows.keys()) {
        const sized = { delta: range.delta(start), bytes: range.encodedBytes(start) }
        const deltas = outgoing.get(start)
        if (deltas) deltas.push(sized)
        else outgoing.set(start, [sized])
      }
    }
    this.planned = []
    return outgoing
  }

  /** The ranges that the next flush will say are done. */
  get doneRanges(): OffsetRange[] {
    return [...this.done.values()]
  }

  /** Everything that the last accepted flush handed out has been accepted by its windows. */
  signalled(): void {
    for (const [partition, range] of this.announced) this.done.set(partition, range)
    this.announced.clear()
  }
}

function announcementOf(range: OffsetRange): Announcement {
  const { from, to } = range
  const windows = [...range.windows.keys()]
  const sums = windows.map(start => range.sumsOf(start))
  return {
    from,
    to,
    windows,
    hits: sums.map(({ hits }) => hits),
    exceptions: sums.map(({ exceptions }) => exceptions),
  }
}
