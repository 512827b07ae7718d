import type { ColumnarCounts } from '../core/columnar'
import type { AppliedPartition, Delta, RangeExceptions } from '../core/messages'
import type { PipelineSettings } from '../core/settings'
import type { Overlap } from '../core/window-state'

export interface WindowInput {
  settings: PipelineSettings
  /** Epoch milliseconds. */
  start: number
}

export interface WriteWindowInput extends WindowInput {
  revision: number
  /** Whether corrections may follow. */
  status: 'published' | 'closed'
  /** Of the pieces and counts together. */
  hits: number
  /** What is not in a piece. */
  counts: ColumnarCounts
  pieces?: StagedPieces
  applied: AppliedPartition[]
}

export interface WriteWindowResult {
  /** False where this revision, or a newer one, was there already. */
  written: boolean
  groups: number
  /** Hits of groups beyond `MAX_GROUPS`, counted under `(other)`. */
  otherHits: number
}

/** Pieces of a window that one chain of its runs sent ahead, numbered from 1. */
export interface StagedPieces {
  chain: string
  count: number
}

export interface StagePieceInput extends WindowInput {
  chain: string
  number: number
  counts: ColumnarCounts[]
}

export interface RecordClosedInput extends WindowInput {
  deltas: Delta[]
  /** Earlier deltas that were sent ahead. */
  pieces?: StagedPieces
}

export interface RecordClosedResult {
  lateHits: number
  repeats: number
  overlaps: Overlap[]
}

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
  writeWindow(input: WriteWindowInput): Promise<WriteWindowResult>
  stagePiece(input: StagePieceInput): Promise<void>
  /** Records deltas that came after the window closed. */
  recordClosed(input: RecordClosedInput): Promise<RecordClosedResult>
  /** How many of the ranges had not been recorded before. */
  recordExceptions(input: { settings: PipelineSettings; ranges: RangeExceptions[] }): Promise<number>
  pollKafka(input: PollInput): Promise<PollResult>
}
