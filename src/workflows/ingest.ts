import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import {
  type SignalDefinition,
  allHandlersFinished,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  log,
  ParentClosePolicy,
  setHandler,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow'
import { Ledger, type LedgerState } from '../core/ledger'
import { describeLedger } from '../core/ledger-report'
import { pollerId, windowId } from '../core/names'
import type { PipelineSettings } from '../core/settings'
import { signalUnheard } from './counters'
import { describeWhenAsked } from './details'
import {
  acceptLog,
  awaited,
  claim,
  closeWindow,
  drain,
  flush,
  ingestStatus,
  pause,
  pollerEnded,
  publishWindow,
  resume,
  scale,
  wake,
} from './messages'
import type { poller } from './poller'
import { pipelineAttributes } from './search-attributes'

export interface IngestInput {
  settings: PipelineSettings
  taskQueue: string
  pollers: number
  /** Offsets where the partitions begin at the first start; the earliest record where one is not named. */
  startPositions: Record<number, number>
  /** Carried from run to run. */
  carried?: { ledger: LedgerState; running: number[]; ending?: number[]; paused?: number }
}

/**
 * The server takes 2,000 updates a run and suggests nothing before that. Far fewer, so that a worker that takes the
 * ledger over from one that was killed has replayed it in a moment.
 */
const MESSAGES_PER_RUN = 500
/** Signals to windows under way at once. */
const WINDOWS_AT_ONCE = 200
/** Windows that are told before the length of the history is looked at: each is two events of 51,200 that a run may have. */
const DUE_AT_ONCE = 1_000

/** The ledger of a pipeline, for its whole life: see {@link Ledger}. It starts the pollers, and closes windows. */
export async function ingest(input: IngestInput): Promise<void> {
  const { settings, taskQueue } = input
  const ledger = new Ledger(settings, input.carried?.ledger, input.startPositions)
  const running = new Set(input.carried?.running)
  const ending = new Set(input.carried?.ending)
  let pollers = input.pollers
  let paused = input.carried?.paused ?? 0
  // Asked again with every run, and with every change: a poller may have been terminated by hand.
  let reconcile = true
  let messages = 0

  describeWhenAsked(() => describeLedger(ledger, settings))
  setHandler(claim, request => {
    messages++
    return ledger.claim(request)
  })
  setHandler(flush, request => {
    messages++
    return ledger.flush(request)
  })
  const setPollers = (wanted: number, resumeWith = 0) => {
    messages++
    pollers = wanted
    paused = resumeWith
    reconcile = true
  }
  setHandler(scale, n => setPollers(n))
  setHandler(pause, () => setPollers(0, pollers || paused))
  setHandler(resume, () => {
    setPollers(pollers || paused)
    return pollers
  })
  setHandler(pollerEnded, n => {
    messages++
    running.delete(n)
    ending.add(n)
    reconcile = true
  })
  setHandler(wake, () => {
    messages++
  })
  setHandler(acceptLog, request => {
    messages++
    return ledger.acceptLog(request)
  })
  setHandler(awaited, (partitions, now) => ledger.awaited(partitions, now))
  setHandler(ingestStatus, () => {
    const { frontier } = ledger
    return {
      settings,
      pollers,
      paused,
      running: [...running].sort((a, b) => a - b),
      ledger: ledger.snapshot(),
      frontier: Number.isFinite(frontier) ? frontier : null,
    }
  })

  const reconcilePollers = async () => {
    for (let n = 1; n <= pollers; n++) {
      try {
        await startChild<typeof poller>('poller', {
          workflowId: pollerId(settings.group, n),
          args: [{ settings, poller: n, taskQueue }],
          parentClosePolicy: ParentClosePolicy.ABANDON,
          staticSummary: `poller ${n} of ${settings.topic}`,
          typedSearchAttributes: pipelineAttributes(settings),
        })
      } catch (error) {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
        // It said that it has ended a moment before it has: nobody would say so again.
        if (ending.has(n)) {
          void sleep(500).then(() => (reconcile = true))
          continue
        }
        // It is running; if it is draining still, it will say when it has ended, and is started again.
      }
      ending.delete(n)
      running.add(n)
    }
    for (const n of running)
      if (n > pollers && !(await tell(pollerId(settings.group, n), drain))) running.delete(n)
  }
  const tellWindows = async (starts: number[], signal: SignalDefinition) => {
    for (let i = 0; i < starts.length; i += WINDOWS_AT_ONCE) {
      const windows = starts.slice(i, i + WINDOWS_AT_ONCE)
      await Promise.all(windows.map(start => tell(windowId(settings.group, start), signal)))
    }
  }

  const full = () => messages >= MESSAGES_PER_RUN || workflowInfo().continueAsNewSuggested
  for (;;) {
    await condition(() => reconcile || ledger.hasDue() || full())
    if (reconcile) {
      reconcile = false
      await reconcilePollers()
    }
    const { publish, close } = ledger.takeDue(DUE_AT_ONCE)
    await tellWindows(publish, publishWindow)
    await tellWindows(close, closeWindow)
    // What is due is told first, unless it is more than a history has room for: the next run goes on with it.
    if (full() && !reconcile && (!ledger.hasDue() || workflowInfo().continueAsNewSuggested)) {
      await condition(allHandlersFinished)
      const carried = { ledger: ledger.snapshot(), running: [...running], ending: [...ending], paused }
      await continueAsNew<typeof ingest>({ ...input, pollers, carried })
    }
  }
}

/** Signals another workflow; false where it is not there: a window that closed, or a poller that was ended. */
async function tell(workflowId: string, signal: SignalDefinition): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(workflowId).signal(signal)
    return true
  } catch (error) {
    signalUnheard(signal.name)
    log.info('A workflow could not be signalled; it has ended.', { workflowId, signal: signal.name, error })
    return false
  }
}
