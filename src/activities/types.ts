import type { ColumnarCounts } from '../core/columnar'
import type {
  AppliedPartition,
  ClosedDeltas,
  ClosedOutcome,
  Published,
  RangeExceptions,
  WindowTotals,
} from '../core/messages'
import type { PipelineSettings } from '../core/settings'

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

/** The steps that can fail: each is retried by Temporal, in sight, until it succeeds. */
export interface Activities {
  /** What Postgres knows of a window; null where it was never published. */
  openWindow(input: WindowInput): Promise<{ revision: number; applied: AppliedPartition[] } | null>
  writeWindow(input: WriteWindowInput): Promise<Published>
  stagePiece(input: StagePieceInput): Promise<void>
  /** Records deltas that came after the window closed. */
  recordClosed(input: RecordClosedInput): Promise<ClosedOutcome>
  /** How many of the ranges had not been recorded before. */
  recordExceptions(input: { settings: PipelineSettings; ranges: RangeExceptions[] }): Promise<number>
  pollKafka(input: PollInput): Promise<PollResult>
}
