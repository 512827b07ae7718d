import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow'
import type {
  AcceptedLog,
  AcceptLogRequest,
  Balance,
  ClaimAnswer,
  ClaimRequest,
  Delta,
  FlushAnswer,
  FlushRequest,
  Settlement,
  ToldBook,
} from '../core/window/protocol'
import type { LedgerState, WindowSource } from '../core/window/ledger'
import type { PipelineSettings } from '../core/settings'

/** To a window. */
export const addDeltas = defineSignal<[Delta[]]>('addDeltas')
/** With everything that was announced so far; an older release did not say it. */
export const publishWindow = defineSignal<[Balance['told']?]>('publish')
/** Without books from a ledger of an older release. */
export const closeWindow = defineSignal<[ToldBook[]?]>('close')
export const windowProgress = defineQuery<WindowProgress>('progress')

/** `src/workflows/window.ts` has the transitions. */
export type WindowMode = 'opening' | 'open' | 'published' | 'closing' | 'closed'

export interface WindowProgress {
  state: WindowMode
  hits: number
  /** Hits among them whose look-up failed and was not waited for. */
  unlocated: number
  /** Of what is held: fewer than the window's where pieces of it were sent ahead. */
  groups: number
  deltas: number
  repeats: number
  pieces: number
  /** Deltas whose counts the pollers put into Postgres. */
  staged: number
  /** Of the result in Postgres; 0 before the first. */
  revision: number
  lateHits: number
  /** Where Postgres does not take a step of it. */
  stuck: Stuck | undefined
}

/** To the ingest workflow, the ledger. */
export const claim = defineUpdate<ClaimAnswer, [ClaimRequest]>('claim')
export const flush = defineUpdate<FlushAnswer, [FlushRequest]>('flush')
export const scale = defineUpdate<void, [number]>('scale')
/** Drains the pollers, and remembers how many there were. */
export const pause = defineUpdate<void>('pause')
/** Brings back the pollers of before the pause; how many there are now. */
export const resume = defineUpdate<number>('resume')
/** A closing window's answer: which books Postgres has, and whether they balance. */
export const settled = defineSignal<[Settlement]>('settled')
/** What it takes to count a window again that is not settled; null where the ledger does not know it. */
export const windowSource = defineQuery<WindowSource | null, [start: number]>('windowSource')
/** Goes on in a log that is not the one that was read; what was accepted. */
export const acceptLog = defineUpdate<AcceptedLog[], [AcceptLogRequest]>('acceptLog')
export const awaited = defineQuery<number[], [partitions: number[], now: number]>('awaited')
export const ingestStatus = defineQuery<IngestStatus>('status')
/** Does nothing but wake the workflow, for an update that waits to be taken in. */
export const wake = defineSignal('wake')
export const pollerEnded = defineSignal<[number]>('pollerEnded')

export interface IngestStatus {
  settings: PipelineSettings
  /** How many pollers there should be; 0 is a stopped pipeline. */
  pollers: number
  /** How many a resume brings back; 0 where the pipeline is not paused. */
  paused: number
  /** The numbers of those that have not ended. */
  running: number[]
  ledger: LedgerState
  /** No event before this time (epoch ms) is still awaited; null before every partition was heard of. */
  frontier: number | null
}

/** To whatever writes to Postgres: what it was refused has been mended, so that it is tried again at once. */
export const retry = defineSignal('retry')

/** To a poller: flush what it holds, leave the group and end. */
export const drain = defineSignal('drain')

/** To a replay or a verification: how far it is, as a sentence. */
export const recountProgress = defineQuery<string>('progress')

/** The type of the failure with which a verification ends that found something; its detail says what. */
export const DIFFERENCES = 'Differences'

/** The type of the failure with which a repair ends that has changed nothing; its detail says why. */
export const NOT_REPAIRED = 'NotRepaired'

/** What the ledger has said to a window so far. */
export type Told = 'wait' | 'publish' | 'close'

/** A step that should have been done by now. Times are epoch milliseconds. */
export interface Stuck {
  /** As in `write revision 1`. */
  step: string
  /** Since when it has been tried. */
  since: number
  /** Where it was refused for good: why, and when it is tried again by itself. */
  reason?: string | undefined
  nextTry?: number
}
