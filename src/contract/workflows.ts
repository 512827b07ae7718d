import type { LedgerState } from '../core/window/ledger'
import type { PipelineSettings } from '../core/settings'
import type {
  LostWindow,
  Maintained,
  Recovered,
  RepairOutcome,
  ReplayedBatch,
  WindowInput,
  WrongWindow,
} from './activities'
import type { Overlap, Sums, ToldBook } from '../core/window/protocol'
import type { WindowSnapshot } from '../core/window/window-state'
import type { Told } from './messages'
import type { WindowSelection } from '../core/window/recount'
import type { UnsettledWindow } from './unsettled'

export interface IngestInput {
  settings: PipelineSettings
  taskQueue: string
  pollers: number
  /** Offset per partition at the first start; the earliest record by default. */
  startPositions: Record<number, number>
  carried?: { ledger: LedgerState; running: number[]; ending?: number[]; paused?: number }
}

export interface WindowRunInput extends WindowInput {
  /** Set if the ledger starts the run because none received the close signal. */
  books?: ToldBook[]
  carried?: {
    opened: boolean
    told: Told
    announced?: Sums | undefined
    books?: ToldBook[]
    revision: number
    changed: boolean
    window: WindowSnapshot
  }
}

export interface WindowSummary {
  summary: string
  hits: number
  groups: number
  /** Hits of groups beyond `MAX_GROUPS`, counted under `(other)`. */
  otherHits: number
  /** Revision of the result in Postgres. */
  revision: number
  deltas: number
  repeats: number
  /** Hits that arrived after the window had closed. */
  lateHits: number
  overlaps: Overlap[]
}

export interface ReplayInput {
  settings: PipelineSettings
  selection: WindowSelection
  includeLate: boolean
  /** Also publish windows for which Kafka has fewer hits than were counted. */
  acceptLoss?: boolean
  carried?: ReplayTotals
}

export interface ReplayTotals {
  unchanged: number
  replayed: number
  gone: number
  /** Windows that would lose hits and stayed unchanged. */
  lost?: number
  /** The replayed windows, up to a limit, as are the lists below. */
  windows: ReplayedBatch['replayed']
  goneWindows: string[]
  lostWindows?: LostWindow[]
}

export type ReplaySummary = ReplayTotals & { summary: string }

export interface VerifyInput {
  settings: PipelineSettings
  /** `yesterday` is the day before the start of the workflow, in UTC. */
  selection: WindowSelection | 'yesterday'
  carried?: Verified
}

export interface Verified {
  right: number
  wrong: number
  gone: number
  /** The wrong windows, up to a limit. */
  windows: WrongWindow[]
  /** Windows whose records Kafka no longer has, up to a limit. */
  goneWindows: string[]
  /** Closed windows without a result in Postgres. */
  missing: string[]
  /** Windows for which Kafka has fewer hits than were counted, and some of them. */
  lost?: number
  lostWindows?: LostWindow[]
  /** Windows that should be closed and are not. */
  unsettled?: UnsettledWindow[]
  /** Windows without books, closed by an older release. */
  withoutBooks?: number
  /** Counts that a person accepted as lost. */
  accepted?: Sums
}

export type VerifySummary = Verified & { summary: string }

export type RecoverSummary = Recovered & { summary: string }

export type RepairSummary = Extract<RepairOutcome, { outcome: 'repaired' | 'unchanged' }> & {
  summary: string
  start: number
}

export type MaintainSummary = Maintained & { summary: string }

/** Workflows that clients and activities start by name. */
export type IngestWorkflow = (input: IngestInput) => Promise<void>
export type WindowWorkflow = (input: WindowRunInput) => Promise<WindowSummary>
