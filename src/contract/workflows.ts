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
import type { Balance, Overlap, Sums, ToldBook } from '../core/window/protocol'
import type { WindowSnapshot } from '../core/window/window-state'
import type { Told } from './messages'
import type { WindowSelection } from '../core/window/recount'
import type { UnsettledWindow } from './unsettled'

export interface IngestInput {
  settings: PipelineSettings
  taskQueue: string
  pollers: number
  /** Offsets where the partitions begin at the first start; the earliest record where one is not named. */
  startPositions: Record<number, number>
  /** Carried from run to run. */
  carried?: { ledger: LedgerState; running: number[]; ending?: number[]; paused?: number }
}

export interface WindowRunInput extends WindowInput {
  /** Where the ledger starts it, since no run is there to be told to close. */
  books?: ToldBook[]
  /** From the run before, where this one continues it. */
  carried?: {
    opened: boolean
    told: Told
    announced?: Balance['told'] | undefined
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
  /** Of the result in Postgres. */
  revision: number
  deltas: number
  repeats: number
  /** Hits that came after the window had closed, counted as late. */
  lateHits: number
  overlaps: Overlap[]
}

export interface ReplayInput {
  settings: PipelineSettings
  selection: WindowSelection
  includeLate: boolean
  /** Whether windows are published of which Kafka has fewer hits than were counted. */
  acceptLoss?: boolean
  /** From the run before, where this one continues it. */
  carried?: ReplayTotals
}

export interface ReplayTotals {
  unchanged: number
  replayed: number
  gone: number
  /** Windows that would lose hits, and were left as they are. */
  lost?: number
  /** Some of them. */
  windows: ReplayedBatch['replayed']
  goneWindows: string[]
  lostWindows?: LostWindow[]
}

export interface ReplaySummary extends ReplayTotals {
  summary: string
}

export interface VerifyInput {
  settings: PipelineSettings
  /** Or the day before the one on which it is started, in UTC. */
  selection: WindowSelection | 'yesterday'
  /** From the run before, where this one continues it. */
  carried?: Verified
}

export interface Verified {
  right: number
  wrong: number
  gone: number
  /** Some of the wrong ones. */
  windows: WrongWindow[]
  /** Some of those of which Kafka no longer has all records. */
  goneWindows: string[]
  /** Windows that were closed, and of which Postgres has no result. */
  missing: string[]
  /** Windows of which Kafka has fewer hits than were counted, and some of them. */
  lost?: number
  lostWindows?: LostWindow[]
  /** Windows that should be closed by the ledger's books, and are not. */
  unsettled?: UnsettledWindow[]
  /** Windows that an older release closed, without books. */
  withoutBooks?: number
  /** What was given up for good. */
  accepted?: Sums
}

export interface VerifySummary extends Verified {
  summary: string
}

export interface RecoverSummary extends Recovered {
  summary: string
}

export type RepairSummary = Extract<RepairOutcome, { outcome: 'repaired' | 'unchanged' }> & {
  summary: string
  start: number
}

export interface MaintainSummary extends Maintained {
  summary: string
}

/** What clients and activities start by name; `src/workflows` has the functions. */
export type IngestWorkflow = (input: IngestInput) => Promise<void>
export type WindowWorkflow = (input: WindowRunInput) => Promise<WindowSummary>
