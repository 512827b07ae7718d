import type { ColumnarCounts } from './columnar'
import type { LogFingerprint } from './log-fingerprint'
import type { Basis } from './watermark'

/** A poller that is given partitions by Kafka claims them from the ledger before it counts anything of them. */
export interface ClaimRequest {
  poller: number
  /** How many partitions the topic has: one never heard of holds windows open. */
  partitionCount: number
  /** `earliest`: the first offset that Kafka still has, where a partition starts that the ledger does not know. */
  partitions: { partition: number; earliest: number }[]
}

export interface Claimed {
  partition: number
  epoch: number
  /** The next offset to read: everything before it is done. */
  position: number
  basis: Basis
  /** End of a range that was announced and not yet said to be done; it is re-read first, and cut exactly there. */
  announcedTo: number | null
  /** Of the last done record, where the ledger knows it. */
  fingerprint?: LogFingerprint
  /** A person accepted the log that is there now: it may still end before the position. */
  accepted?: true
}

export interface ClaimAnswer {
  partitions: Claimed[]
}

/** What became of the records of a range. */
export interface RangeTotals {
  records: number
  hits: number
  late: number
  rejected: number
}

export interface PartitionFlush {
  partition: number
  epoch: number
  /** The announced range that ends at `to` is done: every delta of it was accepted. */
  done?: {
    to: number
    basis: Basis
    totals: RangeTotals
    /** Of the last record before `to`; a release before sends none. */
    fingerprint?: LogFingerprint
  }
  /** The next range, and the starts of the windows that its deltas will go to. */
  announce?: { from: number; to: number; windows: number[] }
  /** The partition's end was `position` when it was asked for at `at` (epoch ms), and it had been silent long enough. */
  idle?: { position: number; at: number }
  /** The offset that its next record will get, as the poller last heard; shown, and decides nothing. */
  end?: number | undefined
}

export interface FlushRequest {
  poller: number
  partitionCount: number
  partitions: PartitionFlush[]
}

/** To go on in the log that is there now; in all partitions where none is named. */
export interface AcceptLogRequest {
  partition?: number
}

/** Reading goes on at `position`, of the log that is there now. */
export interface AcceptedLog {
  partition: number
  position: number
  /** End of a range of the log before whose counts may have been sent. */
  announcedTo: number | null
}

export interface FlushAnswer {
  /** Partitions whose epoch is not the current one: the poller drops what it holds of them. */
  refused: number[]
  /** How many pollers hold the topic's partitions. */
  pollers: number
}

/** The counts of one range of one partition for one window. Never split over two messages. */
export interface Delta extends ColumnarCounts {
  partition: number
  /** Start of the range, and the watermark's basis there: where a replay of the window has to begin. */
  from: number
  basis: Basis
  /** Offsets of the first and the last event that is counted here. */
  first: number
  last: number
  hits: number
  /** Hits among them whose look-up failed and was not waited for; none where it is absent. */
  unlocated?: number
}

/** Late and rejected records of one range. */
export interface RangeExceptions {
  partition: number
  /** Start of the range: together with the partition it makes recording idempotent. */
  from: number
  late: ({ windowStart: number } & ColumnarCounts)[]
  rejected: Record<string, number>
  /** Offset and reason of rejected records, bounded. */
  samples: [offset: number, reason: string][]
}

/** What a window is known to have applied of one partition. */
export interface AppliedPartition {
  partition: number
  from: number
  basis: Basis
  last: number
  /** The last offset that is counted as a hit, where later ones came after the window had closed. */
  counted?: number
}

/** Pieces of a window that one chain of its runs sent ahead to Postgres, numbered from 1. */
export interface StagedPieces {
  chain: string
  count: number
}

/** A window's absolute totals. */
export interface WindowTotals {
  /** Its first instant, epoch milliseconds. */
  start: number
  revision: number
  /** Whether corrections may follow. */
  status: 'published' | 'closed'
  /** Of the pieces and counts together. */
  hits: number
  /** Hits among them whose look-up failed and was not waited for; none where it is absent. */
  unlocated?: number
  pieces?: StagedPieces
  /** What is not in a piece. */
  counts: ColumnarCounts
  applied: AppliedPartition[]
}

export interface Published {
  /** False where this revision or a newer one was there already. */
  written: boolean
  groups: number
  /** Hits of groups beyond `MAX_GROUPS`, counted under `(other)`. */
  otherHits: number
}

/** Deltas that came after their window had closed. */
export interface ClosedDeltas {
  /** The window's first instant, epoch milliseconds. */
  start: number
  deltas: Delta[]
  /** Earlier ones that were sent ahead, each for itself. */
  pieces?: StagedPieces
}

/** What such deltas turned out to be. */
export interface ClosedOutcome {
  lateHits: number
  repeats: number
  overlaps: Overlap[]
}

/** Records of a range that contradict what the window has applied. */
export type Overlap = Pick<Delta, 'partition' | 'first' | 'last'>
