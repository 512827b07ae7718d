import { invariant } from '../invariant'
import type { Checkpoint } from './checkpoints'
import type { LogFingerprint } from './log-fingerprint'
import type {
  AcceptedLog,
  AcceptLogRequest,
  Announcement,
  ClaimAnswer,
  Claimed,
  ClaimRequest,
  PartitionFlush,
  RangeSums,
  RangeTotals,
} from './protocol'
import { isBehind, watermark, type MaxEventTime } from './watermark'

interface PartitionEntry {
  /** Rises with every claim; a flush with an older one is refused. */
  epoch: number
  /** Everything before this offset is done. */
  position: number
  basis: MaxEventTime
  /** End of the range from the position on that was announced and is not done; null if there is none. */
  announcedTo: number | null
  /** What the announced range has; absent if an older release announced it. */
  announced?: RangeSums
  /** Time (epoch ms) at which the position was the partition's end; null once the position moves on. */
  idleAt: number | null
  poller: number
  /** Its position at the first claim; older releases carry none. */
  start?: number
  totals: RangeTotals
  /** The partition's end in Kafka, as its poller last reported. */
  end?: number
  /** Of the last done record, if its poller reported one. */
  fingerprint?: LogFingerprint
  /** The present log was accepted, and none of it is done yet. */
  accepted?: true
}

export interface PartitionsState {
  partitionCount: number
  partitions: Record<number, PartitionEntry>
}

/** Who may report on each partition, and how far it is done. */
export class PartitionLedger {
  constructor(
    private readonly state: PartitionsState,
    private readonly watermarkDelay: number,
    /** Where unknown partitions begin; those without an entry begin at the earliest record. */
    private readonly startPositions: Record<number, number>,
  ) {}

  get entries(): PartitionsState['partitions'] {
    return this.state.partitions
  }

  get count(): number {
    return this.state.partitionCount
  }

  /** Takes a report of how many partitions the topic has. */
  raiseCount(count: number): void {
    this.state.partitionCount = Math.max(this.count, count)
  }

  get pollers(): number {
    return new Set(Object.values(this.entries).map(({ poller }) => poller)).size
  }

  /** Raises the epoch even for the poller that has the partition, whose earlier attempt may still be on its way. */
  claim({ poller, partitions }: ClaimRequest): ClaimAnswer {
    return {
      partitions: partitions.map(({ partition, earliest }): Claimed => {
        const start = this.startPositions[partition] ?? earliest
        const entry = (this.entries[partition] ??= {
          epoch: 0,
          position: start,
          start,
          basis: null,
          announcedTo: null,
          idleAt: null,
          poller,
          totals: { records: 0, hits: 0, late: 0, rejected: 0 },
        })
        entry.epoch++
        entry.poller = poller
        const { epoch, position, basis, announcedTo, announced, fingerprint, accepted } = entry
        return {
          ...{ partition, epoch, position, basis, announcedTo },
          ...(announced && { announced }),
          ...(fingerprint && { fingerprint }),
          ...(accepted && { accepted }),
        }
      }),
    }
  }

  /** The epoch rises, so that no flush that is still on its way brings the old fingerprint back. */
  acceptLog({ partition: only }: AcceptLogRequest): AcceptedLog[] {
    return Object.entries(this.entries)
      .map(([partition, entry]) => ({ partition: Number(partition), entry }))
      .filter(({ partition }) => only === undefined || partition === only)
      .map(({ partition, entry }) => {
        if (!entry.accepted) entry.epoch++
        entry.accepted = true
        delete entry.fingerprint
        delete entry.announced
        return { partition, position: entry.position, announcedTo: entry.announcedTo }
      })
  }

  /**
   * Applies a poller's report to its partition as a whole, or refuses it.
   *
   * @param now epoch ms
   */
  apply(flush: PartitionFlush, now: number): 'refused' | 'range announced' | 'nothing announced' {
    const { partition, epoch, done, announce, idle, end } = flush
    const entry = this.entries[partition]
    if (entry?.epoch !== epoch) return 'refused'
    const isNewlyDone = done !== undefined && done.to !== entry.position
    if (isNewlyDone && (done.to !== entry.announcedTo || isBehind(done.basis, entry.basis))) return 'refused'
    const announcedTo = isNewlyDone ? null : entry.announcedTo
    if (announce) {
      // A range may only be announced again unchanged: deltas of it may have been sent, and only the same cut
      // is recognised as their repeat.
      const isOther = announcedTo !== null && announcedTo !== announce.to
      if (announce.from !== (done?.to ?? entry.position) || isOther || !isWellFormed(announce))
        return 'refused'
    }
    if (isNewlyDone) markDone(entry, epoch, done)
    const isNewlyAnnounced = announce !== undefined && entry.announcedTo === null
    if (announce) {
      entry.announcedTo = announce.to
      if (isNewlyAnnounced && announce.sums) entry.announced = announce.sums
      entry.idleAt = null
    }
    // A wrong clock must not close a window that is not over.
    if (idle && entry.announcedTo === null && idle.position === entry.position)
      entry.idleAt = Math.max(entry.idleAt ?? 0, Math.min(idle.at, now))
    if (end !== undefined) entry.end = end
    return isNewlyAnnounced ? 'range announced' : 'nothing announced'
  }

  /** How far every partition is done, and the watermark's basis there. */
  get places(): Checkpoint['places'] {
    const entries = Object.entries(this.entries)
    return Object.fromEntries(entries.map(([p, { position, basis }]) => [p, [position, basis]]))
  }

  /**
   * Time (epoch ms) up to which a partition allows windows to close: its watermark, or its idle claim minus the delay. A
   * partition that no poller has claimed keeps every window open.
   */
  frontierOf(partition: number): number {
    const entry = this.entries[partition]
    if (!entry) return -Infinity
    const idle = entry.idleAt ?? -Infinity
    return Math.max(watermark(entry.basis, this.watermarkDelay), idle - this.watermarkDelay)
  }

  /** Time (epoch ms) up to which all partitions allow windows to close. */
  get frontier(): number {
    if (this.count === 0) return -Infinity
    let frontier = Infinity
    for (let p = 0; p < this.count; p++) frontier = Math.min(frontier, this.frontierOf(p))
    return frontier
  }

  /** The partitions whose frontier is before this time (epoch ms). */
  behind(time: number): number[] {
    const behind: number[] = []
    for (let p = 0; p < this.count; p++) if (this.frontierOf(p) < time) behind.push(p)
    return behind
  }
}

function isWellFormed({ from, to, windows, hits, exceptions }: Announcement): boolean {
  const areSums = (sums: number[] | undefined) =>
    !sums || (sums.length === windows.length && sums.every(sum => sum >= 0))
  return to > from && areSums(hits) && areSums(exceptions)
}

function markDone(entry: PartitionEntry, epoch: number, done: NonNullable<PartitionFlush['done']>): void {
  invariant(epoch === entry.epoch, 'a range is only done under the current epoch')
  invariant(done.to > entry.position, 'the position of a partition only advances')
  invariant(!isBehind(done.basis, entry.basis), 'the watermark of a partition never moves back')
  entry.position = done.to
  entry.basis = done.basis
  entry.announcedTo = null
  delete entry.announced
  entry.idleAt = null
  // With the fingerprint of an earlier record, everything after that record would be read again.
  if (done.fingerprint) entry.fingerprint = done.fingerprint
  else delete entry.fingerprint
  delete entry.accepted
  for (const key of ['records', 'hits', 'late', 'rejected'] as const) entry.totals[key] += done.totals[key]
}
