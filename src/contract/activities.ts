import { type ColumnarCounts } from '../core/counts/columnar'
import type {
  AppliedPartition,
  Balance,
  ClosedDeltas,
  ClosedOutcome,
  Published,
  RangeExceptions,
  Sums,
  WindowTotals,
} from '../core/window/protocol'
import type { WindowSelection } from '../core/window/recount'
import type { PipelineSettings } from '../core/settings'
import type { UnsettledWindow } from './unsettled'
import type { PeriodName } from '../core/window/periods'

export interface WindowInput {
  settings: PipelineSettings
  /** Epoch milliseconds. */
  start: number
}

export type WriteWindowInput = WindowInput & WindowTotals

export interface StagePieceInput extends WindowInput {
  chain: string
  number: number
  counts: ColumnarCounts[]
}

export type RecordClosedInput = WindowInput & ClosedDeltas

export interface PollInput {
  settings: PipelineSettings
  poller: number
  taskQueue: string
}

export interface PollResult {
  reason: 'drained' | 'worker shutting down'
  records: number
}

/** Which closed windows are to be counted anew. Times are epoch milliseconds. */
export interface SelectionInput extends WindowSelection {
  settings: PipelineSettings
}

export interface BatchInput {
  settings: PipelineSettings
  /** Of closed windows, oldest first. */
  starts: number[]
  /** Whether late events that came since are brought in. */
  includeLate?: boolean
  /** Whether windows are published that lose hits. */
  acceptLoss?: boolean
}

export interface ReplayedBatch {
  /** Windows whose result was right. */
  unchanged: number
  replayed: { start: number; revision: number; hits: number; hitsBefore: number; broughtIn: number }[]
  /** Windows of which Kafka no longer has all records. */
  gone: number[]
  /** Windows of which Kafka has other records at the offsets that were counted: nothing was changed. */
  lost?: LostWindow[]
}

/** A window of which Kafka has fewer hits than were counted. */
export interface LostWindow {
  start: number
  expected: number
  counted: number
}

export interface VerifiedBatch {
  right: number
  wrong: WrongWindow[]
  /** Windows of which Kafka no longer has all records. */
  gone: number[]
  /** Windows of which Kafka has other records at the offsets that were counted. */
  lost?: LostWindow[]
  /** Windows of an older release, which have no books to be compared with. */
  withoutBooks?: number
  /** Hits and exceptions that were given up for good. */
  accepted?: Sums
}

export interface WrongWindow {
  start: number
  /** Hits by `traffic_windows`, and by the log. */
  stored: number
  counted: number
  differences: Difference[]
  /** Differences beyond those that are named. */
  more: number
  /** Where its books do not balance. */
  balance?: Balance
}

export interface RecoverInput {
  settings: PipelineSettings
  /** Epoch milliseconds. */
  since: number
}

/** What was written again. */
export interface Recovered {
  /** Results of windows; one that was corrected had several. */
  windows: number
  /** Results that were there. */
  there: number
  /** Ranges with late or rejected records. */
  ranges: number
  /** Hits that came after their window had closed. */
  lateHits: number
  /** Windows whose result is of events that came after the loss, and lacks those from before. */
  contradictory: string[]
  /** Windows that no history has all of, and that were counted again from Kafka. */
  repaired?: string[]
  /** Those of them that Kafka no longer has all records of, or that nobody knows the place of, and why. */
  incomplete?: { window: string; reason: string }[]
}

export interface RepairInput extends WindowInput {
  /** Whether what Kafka no longer has is given up. */
  acceptLoss: boolean
}

/** Offsets `[from, to)` that Kafka no longer has, or never had. */
export interface GoneOffsets {
  partition: number
  from: number
  to: number
}

export type RepairOutcome =
  | ((Repaired | Incomplete) & { gone: GoneOffsets[] })
  /** Why the window cannot be repaired, or not yet. */
  | { outcome: 'refused'; reason: string }

export interface MaintainInput {
  settings: PipelineSettings
  /** Milliseconds; null for ever. */
  retention: number | null
}

/** A window's result; an older release did not say its status, and took each for closed. */
export interface KnownWindow {
  revision: number
  applied: AppliedPartition[]
  status?: 'published' | 'closed'
}

/** The steps that can fail: each is retried by Temporal, in sight, until it succeeds. */
export interface Activities {
  /** What Postgres knows of a window; null where it was never published. */
  openWindow(input: WindowInput): Promise<KnownWindow | null>
  writeWindow(input: WriteWindowInput): Promise<Published>
  stagePiece(input: StagePieceInput): Promise<void>
  /** Records deltas that came after the window closed. */
  recordClosed(input: RecordClosedInput): Promise<ClosedOutcome>
  /** How many of the ranges had not been recorded before. */
  recordExceptions(input: { settings: PipelineSettings; ranges: RangeExceptions[] }): Promise<number>
  pollKafka(input: PollInput): Promise<PollResult>
  /** The next batch of closed windows, as many as are counted anew in one pass. */
  selectWindows(input: SelectionInput): Promise<number[]>
  replayWindows(input: BatchInput): Promise<ReplayedBatch>
  verifyWindows(input: BatchInput): Promise<VerifiedBatch>
  /** Starts of windows in a selection that were closed, and of which Postgres has no result. */
  findMissing(input: SelectionInput): Promise<number[]>
  /** Windows in a selection that should be closed by the ledger's books, and are not. */
  findUnsettled(input: SelectionInput): Promise<UnsettledWindow[]>
  /** Counts a window again from Kafka, whatever has become of its runs, and publishes it. */
  repairWindow(input: RepairInput): Promise<RepairOutcome>
  recoverWrites(input: RecoverInput): Promise<Recovered>
  /** What the tables need from time to time. */
  maintainTables(input: MaintainInput): Promise<Maintained>
}

/** The host of a {@link Difference} that is about all groups of a window together. */
export const EVERY = '(all groups)'

/**
 * A group of a window that Postgres has with other hits than a count; null where one of the two does not have it. The
 * host {@link EVERY} stands for all groups together.
 */
export interface Difference {
  table: 'aggregated_web_traffic' | 'aggregated_web_traffic_by_country'
  host: string
  referrer: string
  country?: string
  stored: number | null
  counted: number | null
}

export interface Maintained extends Dropped {
  /** How many periods were added up. */
  sealed: Record<PeriodName, number>
}

export interface Dropped {
  /** Starts of the months whose counts were dropped. */
  months: number[]
  /** Late events that were deleted, and are in no result. */
  lateHits: number
}

export interface Repaired {
  outcome: 'repaired' | 'unchanged'
  revision: number
  hits: number
  hitsBefore: number
  exceptions: number
  exceptionsBefore: number
  /** Absent where a release without books counted the window. */
  balance?: Balance
  /** What was given up for good, by this repair and earlier ones. */
  lost: Sums
}

/** The log has something else than was announced. Nothing was changed. */
export interface Incomplete {
  outcome: 'incomplete'
  told: Sums
  found: Sums
}
