import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow'
import type {
  AcceptedLog,
  AcceptLogRequest,
  ClaimAnswer,
  ClaimRequest,
  Delta,
  FlushAnswer,
  FlushRequest,
  Settlement,
  Sums,
  Timed,
  ToldBook,
} from '../core/window/protocol'
import type { LedgerState, WindowSource } from '../core/window/ledger'
import type { PipelineSettings } from '../core/settings'

/* Messages of a window. */

export const addDeltas = defineSignal<[Delta[]]>('addDeltas')
/** Carries the sums announced so far; absent from an older release. */
export const publishWindow = defineSignal<[Sums?]>('publish')
/** Books are absent from an older release. */
export const closeWindow = defineSignal<[ToldBook[]?]>('close')
export const windowProgress = defineQuery<WindowProgress>('progress')

/** `src/workflows/window.ts` has the transitions. */
export type WindowMode = 'opening' | 'open' | 'published' | 'closing' | 'closed'

export interface WindowProgress {
  state: WindowMode
  hits: number
  /** Hits counted under `??` because their lookup failed. */
  unlocated: number
  /** Groups in the run, without those in pieces and staged deltas. */
  groups: number
  deltas: number
  repeats: number
  pieces: number
  /** Staged deltas. */
  staged: number
  /** Revision of the result in Postgres; 0 before the first. */
  revision: number
  lateHits: number
  /** Set if a step in Postgres is overdue or needs a person. */
  stuck: Stuck | undefined
}

/* Messages of the ledger. */

export const claim = defineUpdate<Timed<ClaimAnswer>, [ClaimRequest]>('claim')
export const flush = defineUpdate<Timed<FlushAnswer>, [FlushRequest]>('flush')
export const scale = defineUpdate<void, [number]>('scale')
/** Drains the pollers and remembers their number. */
export const pause = defineUpdate<void>('pause')
/** Restores the pollers from before the pause; returns their number. */
export const resume = defineUpdate<number>('resume')
/** A closing window's answer: the books that Postgres has, and their balance. */
export const settled = defineSignal<[Settlement]>('settled')
/** What a repair needs to count an unsettled window again; null if the ledger does not know the window. */
export const windowSource = defineQuery<WindowSource | null, [start: number]>('windowSource')
/** Continues with a log that differs from the one that was read; returns what was accepted. */
export const acceptLog = defineUpdate<AcceptedLog[], [AcceptLogRequest]>('acceptLog')
export const awaited = defineQuery<number[], [partitions: number[], now: number]>('awaited')
export const ingestStatus = defineQuery<IngestStatus>('status')
/** Makes the ledger handle an update that the server may have forgotten to deliver. */
export const wake = defineSignal('wake')
export const pollerEnded = defineSignal<[number]>('pollerEnded')

export interface IngestStatus {
  settings: PipelineSettings
  /** Wanted pollers; 0 if the pipeline is stopped. */
  pollers: number
  /** Pollers that a resume restores; 0 if the pipeline is not paused. */
  paused: number
  /** Numbers of the pollers that have not ended. */
  running: number[]
  ledger: LedgerState
  /** No event before this time (epoch ms) is still expected; null until every partition has reported. */
  frontier: number | null
}

/** Makes a workflow that waits for Postgres try again at once, after its cause was fixed. */
export const retry = defineSignal('retry')

/** Makes a poller flush, leave the group and end. */
export const drain = defineSignal('drain')

/** The progress of a replay, verification or repair, in sentences. */
export const recountProgress = defineQuery<string>('progress')

/** Failure type of a verification that found differences; its detail is `Verified`. */
export const DIFFERENCES = 'Differences'

/** Failure type of a repair that changed nothing; its detail is the `RepairOutcome`. */
export const NOT_REPAIRED = 'NotRepaired'

/** What the ledger has told a window so far. */
export type Told = 'wait' | 'publish' | 'close'

/** An overdue step. Times are epoch ms. */
export interface Stuck {
  /** Such as `write revision 1`. */
  step: string
  since: number
  /** The permanent failure, if there was one. */
  reason?: string | undefined
  /** Time of the next automatic retry. */
  nextTry?: number
}
