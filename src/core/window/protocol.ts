import type { ColumnarCounts } from '../counts/columnar'
import type { LogFingerprint } from './log-fingerprint'
import type { MaxEventTime } from './watermark'

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
  basis: MaxEventTime
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
    basis: MaxEventTime
    totals: RangeTotals
    /** Of the last record before `to`; a release before sends none. */
    fingerprint?: LogFingerprint
  }
  /** The next range, and what its deltas will bring to which windows. */
  announce?: Announcement
  /** The partition's end was `position` when it was asked for at `at` (epoch ms), and it had been silent long enough. */
  idle?: { position: number; at: number }
  /** The offset that its next record will get, as the poller last heard; shown, and decides nothing. */
  end?: number | undefined
}

/** A range that a poller is about to send. The arrays are parallel: one entry a window. */
export interface Announcement {
  from: number
  to: number
  /** Starts of the windows, epoch ms. */
  windows: number[]
  /** Hits for each window; absent in what an older release sends. */
  hits?: number[]
  /** Late and rejected records that travel to each window; absent in what an older release sends. */
  exceptions?: number[]
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

/** What one range of one partition brings to one window. Never split over two messages. */
export interface Delta extends ColumnarCounts {
  partition: number
  /** Start of the range, and the watermark's basis there: where a replay of the window has to begin. */
  from: number
  basis: MaxEventTime
  /** Offsets of the first and the last record that is counted here. */
  first: number
  last: number
  hits: number
  /** Hits among them whose look-up failed and was not waited for; none where it is absent. */
  unlocated?: number
  /** The counts are too large for a message: Postgres has them (`staged_deltas`), and they are empty here. */
  staged?: true
  /** Late and rejected records that were read while this window was the current one of the partition. */
  exceptions?: DeltaExceptions
}

export interface DeltaExceptions extends Exceptions {
  /** How many records. */
  records: number
  /** Too many for a message: the poller has recorded them, and they are not named here. */
  recorded?: true
}

/** Late and rejected records. */
export interface Exceptions {
  late: ({ windowStart: number } & ColumnarCounts)[]
  /** How many, by reason. */
  rejected: Record<string, number>
  /** Offset and reason of rejected records, bounded. */
  samples: [offset: number, reason: string][]
}

/** Late and rejected records of one range. */
export interface RangeExceptions extends Exceptions {
  partition: number
  /** Start of the range: with the partition and {@link window} it makes recording idempotent. */
  from: number
  /**
   * Start of the window that was the partition's current one, epoch ms. Absent in what an older release has under way,
   * which kept them by range alone.
   */
  window?: number
}

/** What a window is known to have applied of one partition. */
export interface AppliedPartition {
  partition: number
  from: number
  basis: MaxEventTime
  last: number
  /** The last offset that is counted as a hit, where later ones came after the window had closed. */
  counted?: number
}

/** What the ledger tells a window when it closes: the sums of everything that was announced for it. */
export interface WindowBook {
  /** Serial number. A window that was opened again by late events has several. */
  book: number
  hits: number
  exceptions: number
}

/** Of a window: hits, and the late and rejected records that travelled with it. */
export interface Sums {
  hits: number
  exceptions: number
}

/** A window by its books, and by what Postgres has of it. */
export interface Balance {
  told: Sums
  accounted: Sums
}

export function isBalanced({ told, accounted }: Balance): boolean {
  return told.hits === accounted.hits && told.exceptions === accounted.exceptions
}

/** A window's answer to the ledger: these books are in Postgres, and this is the balance of all of the window's. */
export interface Settlement {
  /** The window's first instant, epoch milliseconds. */
  start: number
  books: number[]
  /** Absent for a book whose sums the ledger does not know: it was opened under an older release. */
  balance?: Balance
}

/** Pieces of a window that one chain of its runs sent ahead to Postgres, numbered from 1. */
export interface StagedPieces {
  chain: string
  count: number
}

/** Deltas of a window whose counts are in Postgres. */
export interface StagedDeltas {
  hits: number
  /** The last offset of each, by partition. */
  last: [partition: number, offsets: number[]][]
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
  /** Deltas whose counts the pollers put into Postgres. */
  staged?: StagedDeltas
  /** What is neither in a piece nor staged. */
  counts: ColumnarCounts
  applied: AppliedPartition[]
  /** Where it closes: what the ledger told it. */
  books?: ToldBook[]
}

export interface Published {
  /** False where this revision or a newer one was there already. */
  written: boolean
  groups: number
  /** Hits of groups beyond `MAX_GROUPS`, counted under `(other)`. */
  otherHits: number
  /** Where it closed. */
  balance?: Balance
}

/** A book as it travels; without sums where the ledger does not know them. */
export type ToldBook = WindowBook | { book: number }

/** Deltas that came after their window had closed. */
export interface ClosedDeltas {
  /** The window's first instant, epoch milliseconds. */
  start: number
  deltas: Delta[]
  /** Earlier ones that were sent ahead, each for itself. */
  pieces?: StagedPieces
  /** What the ledger told the window. */
  books?: ToldBook[]
}

/** What such deltas turned out to be. */
export interface ClosedOutcome {
  lateHits: number
  repeats: number
  overlaps: Overlap[]
  balance?: Balance
}

/** Records of a range that contradict what the window has applied. */
export type Overlap = Pick<Delta, 'partition' | 'first' | 'last'>
