import type { ColumnarCounts } from '../counts/columnar'
import type { LogFingerprint } from './log-fingerprint'
import type { MaxEventTime } from './watermark'

/** A poller claims the partitions that Kafka assigned to it before it counts anything of them. */
export interface ClaimRequest {
  poller: number
  /** Partitions of the topic; one that nobody has claimed keeps windows open. */
  partitionCount: number
  /** `earliest`: the first offset that Kafka still has, where an unknown partition begins. */
  partitions: { partition: number; earliest: number }[]
}

export interface Claimed {
  partition: number
  epoch: number
  /** The next offset to read; everything before it is done. */
  position: number
  basis: MaxEventTime
  /** End of a range that was announced and is not done; it must be re-read first and cut exactly there. */
  announcedTo: number | null
  /** What the range had when it was announced; absent if the ledger does not know it. */
  announced?: RangeSums
  /** Of the last done record, if the ledger knows it. */
  fingerprint?: LogFingerprint
  /** A person accepted the present log; it may still end before the position. */
  accepted?: true
}

export interface ClaimAnswer {
  partitions: Claimed[]
}

/** An answer with the ledger's time (epoch ms); ledgers of older releases send none. */
export type Timed<Answer> = Answer & { now?: number }

/** How many records of a range there are, and what they turned out to be. */
export interface RangeTotals {
  records: number
  hits: number
  late: number
  rejected: number
}

/** What a range has as a whole. */
export interface RangeSums {
  /** The watermark's basis at its end. */
  basis: MaxEventTime
  totals: RangeTotals
}

export interface PartitionFlush {
  partition: number
  epoch: number
  /** The announced range that ends at `to` is done: the windows accepted all its deltas. */
  done?: RangeSums & {
    to: number
    /** Of the last record before `to`; older releases send none. */
    fingerprint?: LogFingerprint
  }
  announce?: Announcement
  /**
   * After `IDLE_TIMEOUT` of silence, the poller asked Kafka for the partition's end, and it was `position`. `at`: the
   * ledger's time when it asked, epoch ms; pollers of older releases send the time of their own clock.
   */
  idle?: { position: number; at: number }
  /** The partition's end as the poller last heard it; only for display. */
  end?: number | undefined
}

/** The next range of a partition. The arrays are parallel, with one entry per window. */
export interface Announcement {
  from: number
  to: number
  /** Older releases send none. */
  sums?: RangeSums
  /** Starts of the windows, epoch ms. */
  windows: number[]
  /** Hits for each window; older releases send none. */
  hits?: number[]
  /** Late and rejected records that each window carries; older releases send none. */
  exceptions?: number[]
}

export interface FlushRequest {
  poller: number
  partitionCount: number
  partitions: PartitionFlush[]
}

/** Without a partition, all of them. */
export interface AcceptLogRequest {
  partition?: number
}

export interface AcceptedLog {
  partition: number
  /** Where reading continues in the accepted log. */
  position: number
  /** End of a range of the previous log whose counts may have been sent. */
  announcedTo: number | null
}

export interface FlushAnswer {
  /** Partitions of which nothing was accepted; the poller drops its counts of them. */
  refused: number[]
  /** How many pollers have claimed the topic's partitions. */
  pollers: number
}

/** What one range of one partition brings to one window. Never split over two messages. */
export interface Delta extends ColumnarCounts {
  partition: number
  /** Start of the range and the watermark's basis there, where a replay of the window has to begin. */
  from: number
  basis: MaxEventTime
  /** Offset of the first record that is counted here. */
  first: number
  /** Offset of the last record that is counted here. */
  last: number
  hits: number
  /** Those of the hits whose country lookup failed; absent for none. */
  unlocated?: number
  /** The counts were too large for a message: they are empty here, and Postgres has them in `staged_deltas`. */
  staged?: true
  /** Late and rejected records that were read while this was the partition's current window. */
  exceptions?: DeltaExceptions
}

export interface DeltaExceptions extends Exceptions {
  records: number
  /** They were too many for a message: they are empty here, and the poller has recorded them. */
  recorded?: true
}

/** Late and rejected records. */
export interface Exceptions {
  late: ({ windowStart: number } & ColumnarCounts)[]
  /** How many, by reason. */
  rejected: Record<string, number>
  /** Some of the rejected records. */
  samples: [offset: number, reason: string][]
}

/** Late and rejected records of one range. The partition, offsets and `window` make recording them idempotent. */
export interface RangeExceptions extends Exceptions {
  partition: number
  /** Start of the range. */
  from: number
  /** Offset after the range's last record for the window; absent in messages of older releases. */
  to?: number
  /** Start of the partition's current window, epoch ms; absent in messages of older releases. */
  window?: number
}

/** What a window has applied of one partition. */
export interface AppliedPartition {
  partition: number
  from: number
  basis: MaxEventTime
  last: number
  /** The last offset that is a hit, if later ones came after the window had closed. */
  counted?: number
}

/** The sums of everything that was announced for a window, as sent with the close signal. */
export interface WindowBook {
  /** Serial number. A window that late events opened again has several books. */
  book: number
  hits: number
  exceptions: number
}

/** Hits of a window, and the late and rejected records that it carries. */
export interface Sums {
  hits: number
  exceptions: number
}

/** A window's sums by its books, and by what Postgres has. */
export interface Balance {
  told: Sums
  accounted: Sums
}

export function isBalanced({ told, accounted }: Balance): boolean {
  return told.hits === accounted.hits && told.exceptions === accounted.exceptions
}

/** A window's answer to the close signal: Postgres has these books. */
export interface Settlement {
  /** Start of the window, epoch milliseconds. */
  start: number
  books: number[]
  /** Of all books of the window; absent if one was opened under an older release, without sums. */
  balance?: Balance
}

/** Pieces of a window, numbered from 1, that one chain of its runs has staged in Postgres. */
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
  /** Start of the window, epoch milliseconds. */
  start: number
  revision: number
  /** After `published`, corrections may follow. */
  status: 'published' | 'closed'
  /** Of pieces, staged deltas and counts together. */
  hits: number
  /** Those of the hits whose country lookup failed; absent for none. */
  unlocated?: number
  pieces?: StagedPieces
  staged?: StagedDeltas
  /** The counts that are neither in a piece nor staged. */
  counts: ColumnarCounts
  applied: AppliedPartition[]
  /** What the close signal carried. */
  books?: ToldBook[]
}

export interface Published {
  /** False if Postgres already had this revision or a newer one. */
  written: boolean
  groups: number
  /** Hits of groups beyond `MAX_GROUPS`, counted under `(other)`. */
  otherHits: number
  /** Present once the window is closed. */
  balance?: Balance
}

/** A book as sent to the window; without sums if the ledger does not know them. */
export type ToldBook = WindowBook | { book: number }

/** Deltas that came after their window had closed. */
export interface ClosedDeltas {
  /** Start of the window, epoch milliseconds. */
  start: number
  deltas: Delta[]
  /** Earlier ones, which were staged. */
  pieces?: StagedPieces
  books?: ToldBook[]
}

export interface ClosedOutcome {
  lateHits: number
  repeats: number
  overlaps: Overlap[]
  balance?: Balance
}

/** Offsets of a delta that contradicts what its window has applied. */
export type Overlap = Pick<Delta, 'partition' | 'first' | 'last'>
