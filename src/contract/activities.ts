import type { ColumnarCounts } from '../core/counts/columnar'
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

/** Selects closed windows to count again. Times are epoch ms. */
export interface SelectionInput extends WindowSelection {
  settings: PipelineSettings
}

export interface BatchInput {
  settings: PipelineSettings
  /** Closed windows, oldest first. */
  starts: number[]
  /** Count late events that arrived since. */
  includeLate?: boolean
  /** Publish windows that lose hits. */
  acceptLoss?: boolean
}

export interface ReplayedBatch {
  unchanged: number
  replayed: { start: number; revision: number; hits: number; hitsBefore: number; broughtIn: number }[]
  /** Windows whose records Kafka no longer has. */
  gone: number[]
  /** Unchanged windows: Kafka has other records at the offsets that were counted. */
  lost?: LostWindow[]
}

/** A window for which Kafka has fewer hits than were counted. */
export interface LostWindow {
  start: number
  expected: number
  counted: number
}

export interface VerifiedBatch {
  right: number
  wrong: WrongWindow[]
  /** Windows whose records Kafka no longer has. */
  gone: number[]
  /** Windows for which Kafka has other records at the offsets that were counted. */
  lost?: LostWindow[]
  /** Windows without books, closed by an older release. */
  withoutBooks?: number
  /** Counts that a person accepted as lost. */
  accepted?: Sums
}

export interface WrongWindow {
  start: number
  /** Hits in `traffic_windows` and in the log. */
  stored: number
  counted: number
  differences: Difference[]
  /** How many differences are not listed. */
  more: number
  /** Set if its books do not balance. */
  balance?: Balance
}

export interface RecoverInput {
  settings: PipelineSettings
  /** Epoch milliseconds. */
  since: number
}

export interface Recovered {
  /** Results that were written again; a corrected window had several. */
  windows: number
  /** Results that Postgres still had. */
  there: number
  /** Ranges with late or rejected records. */
  ranges: number
  /** Hits that arrived after their window had closed. */
  lateHits: number
  /** Windows whose newer result lacks the events from before the loss. */
  contradictory: string[]
  /** Windows without a complete history, counted again from Kafka. */
  repaired?: string[]
  /** Windows that could not be counted again either, and why. */
  incomplete?: { window: string; reason: string }[]
}

export interface RepairInput extends WindowInput {
  /** Give up what Kafka no longer has. */
  acceptLoss: boolean
}

/** Offsets `[from, to)` that Kafka does not have. */
export interface GoneOffsets {
  partition: number
  from: number
  to: number
}

export type RepairOutcome =
  ((Repaired | Incomplete) & { gone: GoneOffsets[] }) | { outcome: 'refused'; reason: string }

export interface MaintainInput {
  settings: PipelineSettings
  /** Milliseconds; null keeps everything. */
  retention: number | null
}

/** A window's result; without a status, an older release closed it. */
export interface KnownWindow {
  revision: number
  applied: AppliedPartition[]
  status?: 'published' | 'closed'
}

/** The steps that can fail; Temporal retries them. */
export interface Activities {
  /** The window's result in Postgres; null if it was never published. */
  openWindow(input: WindowInput): Promise<KnownWindow | null>
  writeWindow(input: WriteWindowInput): Promise<Published>
  stagePiece(input: StagePieceInput): Promise<void>
  /** Records deltas that arrived after the window had closed. */
  recordClosed(input: RecordClosedInput): Promise<ClosedOutcome>
  /** Returns how many ranges had not been recorded before. */
  recordExceptions(input: { settings: PipelineSettings; ranges: RangeExceptions[] }): Promise<number>
  pollKafka(input: PollInput): Promise<PollResult>
  /** The next closed windows, as many as one pass over the log can count. */
  selectWindows(input: SelectionInput): Promise<number[]>
  replayWindows(input: BatchInput): Promise<ReplayedBatch>
  verifyWindows(input: BatchInput): Promise<VerifiedBatch>
  /** Starts of closed windows without a result in Postgres. */
  findMissing(input: SelectionInput): Promise<number[]>
  /** Windows that should be closed by the ledger's books and are not. */
  findUnsettled(input: SelectionInput): Promise<UnsettledWindow[]>
  /** Counts a window again from Kafka, regardless of its runs, and publishes it. */
  repairWindow(input: RepairInput): Promise<RepairOutcome>
  recoverWrites(input: RecoverInput): Promise<Recovered>
  maintainTables(input: MaintainInput): Promise<Maintained>
}

/** The host of a {@link Difference} that covers all groups of a window. */
export const EVERY = '(all groups)'

/** A group whose hits in Postgres differ from a count; null on the side that lacks the group. */
export interface Difference {
  table: 'aggregated_web_traffic' | 'aggregated_web_traffic_by_country'
  host: string
  referrer: string
  country?: string
  stored: number | null
  counted: number | null
}

export interface Maintained extends Dropped {
  /** How many periods were rolled up. */
  sealed: Record<PeriodName, number>
}

export interface Dropped {
  /** Starts of the dropped months. */
  months: number[]
  /** Deleted late events that no result includes. */
  lateHits: number
}

export interface Repaired {
  outcome: 'repaired' | 'unchanged'
  revision: number
  hits: number
  hitsBefore: number
  exceptions: number
  exceptionsBefore: number
  /** Absent if an older release counted the window, without books. */
  balance?: Balance
  /** Accepted as lost by this repair and earlier ones. */
  lost: Sums
}

/** The log does not have what was announced. Nothing was changed. */
export interface Incomplete {
  outcome: 'incomplete'
  told: Sums
  found: Sums
}
