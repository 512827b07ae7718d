import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import {
  type SignalDefinition,
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  log,
  ParentClosePolicy,
  patched,
  setHandler,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow'
import type { ClosingWindow } from '../core/window/books'
import { Ledger } from '../core/window/ledger'
import { describeLedger } from './ledger-report'
import { pollerId, windowId } from '../contract/ids'
import type { ToldBook } from '../core/window/protocol'
import { formatWindow } from '../core/window/tumbling-window'
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
  settled,
  wake,
  windowSource,
} from '../contract/messages'
import type { poller } from './poller'
import { pipelineAttributes, windowAttributes, windowMemo } from '../contract/search-attributes'
import type { window } from './window'
import type { IngestInput } from '../contract/workflows'

/**
 * The server takes 2,000 updates a run and suggests nothing before that. Far fewer, so that a worker that takes the
 * ledger over from one that was killed has replayed it in a moment.
 */
const MESSAGES_PER_RUN = 500
/** Signals to windows under way at once. */
const WINDOWS_AT_ONCE = 200
/** Windows that are told before the length of the history is looked at: each is two events of 51,200 that a run may have. */
const DUE_AT_ONCE = 1_000
/** The ledger looks after pollers and closing windows so often, also where no message comes. ms */
const LOOK_EVERY = 30_000

/**
 * The ledger of a pipeline, for its whole life: see {@link Ledger}. It starts the pollers, and closes windows. A request
 * to cancel changes nothing: what is done would be forgotten.
 */
export function ingest(input: IngestInput): Promise<void> {
  return CancellationScope.nonCancellable(() => keepLedger(input))
}

async function keepLedger(input: IngestInput): Promise<void> {
  // A run that an older release began closes windows without waiting for their answers, until it continues as new.
  const looksAfter = patched('the ledger looks after its workflows')
  const { settings, taskQueue } = input
  const ledger = new Ledger(settings, input.carried?.ledger, input.startPositions)
  const running = new Set(input.carried?.running)
  const ending = new Set(input.carried?.ending)
  let pollers = input.pollers
  let paused = input.carried?.paused ?? 0
  // Asked again with every run, and with every change: a poller may have been terminated by hand.
  let reconcile = true
  let messages = 0
  /** When each poller last sent something, or was found running; epoch ms. */
  const heard = new Map<number, number>()

  describeWhenAsked(() => describeLedger(ledger, settings))
  setHandler(claim, request => {
    messages++
    heard.set(request.poller, Date.now())
    return ledger.claim(request)
  })
  setHandler(flush, request => {
    messages++
    heard.set(request.poller, Date.now())
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
  setHandler(settled, settlement => {
    messages++
    ledger.settled(settlement)
  })
  setHandler(windowSource, start => ledger.sourceOf(start) ?? null)
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

  const isSilent = (n: number) => (heard.get(n) ?? -Infinity) <= Date.now() - LOOK_EVERY
  const reconcilePollers = async () => {
    for (let n = 1; n <= pollers; n++) {
      if (looksAfter && running.has(n) && !isSilent(n)) continue
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
      heard.set(n, Date.now())
    }
    for (const n of running)
      if (n > pollers && !(await tell(pollerId(settings.group, n), drain))) running.delete(n)
  }
  const eachWindow = async <T>(windows: T[], each: (window: T) => Promise<unknown>) => {
    for (let i = 0; i < windows.length; i += WINDOWS_AT_ONCE)
      await Promise.all(windows.slice(i, i + WINDOWS_AT_ONCE).map(each))
  }
  const tellToClose = async (closing: ClosingWindow) => {
    const { start } = closing
    const books = ledger.books.booksOf(start)
    const heardIt = await tell(windowId(settings.group, start), closeWindow, books)
    if (!looksAfter) return ledger.settled({ start, books: [closing.book] })
    ledger.books.signalSent(closing, Date.now())
    if (heardIt) return
    // Without sums there is nothing to hold it against: it has ended, as windows did under an older release.
    if (books.every(book => !('hits' in book)))
      ledger.settled({ start, books: books.map(({ book }) => book) })
    else await startForBooks(start, books)
  }
  /** No run of the window is there: it has ended and may have answered, or was ended by hand. A new one finds out. */
  const startForBooks = async (start: number, books: ToldBook[]) => {
    try {
      await startChild<typeof window>('window', {
        workflowId: windowId(settings.group, start),
        args: [{ settings, start, books }],
        parentClosePolicy: ParentClosePolicy.ABANDON,
        staticSummary: formatWindow(start, settings.windowSize),
        typedSearchAttributes: windowAttributes(settings, start),
        memo: windowMemo(settings),
      })
    } catch (error) {
      // A late delta has started one meanwhile: it is told the next time.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    }
  }
  let look = false
  const lookNowAndThen = async () => {
    for (;;) {
      await condition(() => pollers > 0 || ledger.closing.length > 0)
      await sleep(LOOK_EVERY, { summary: 'pollers and closing windows are looked after' })
      look = true
    }
  }
  if (looksAfter) void lookNowAndThen()

  const full = () => messages >= MESSAGES_PER_RUN || workflowInfo().continueAsNewSuggested
  for (;;) {
    await condition(() => reconcile || look || ledger.hasDue() || full())
    if (look) {
      look = false
      for (let n = 1; n <= pollers; n++) if (isSilent(n)) reconcile = true
    }
    if (reconcile) {
      reconcile = false
      await reconcilePollers()
    }
    const { publish } = ledger.takeDue(Date.now(), DUE_AT_ONCE)
    await eachWindow(publish, start =>
      tell(windowId(settings.group, start), publishWindow, ledger.books.sumsOf(start)),
    )
    await eachWindow(ledger.books.due(Date.now(), DUE_AT_ONCE), tellToClose)
    // What is due is told first, unless it is more than a history has room for: the next run goes on with it.
    if (full() && !reconcile && (!ledger.hasDue() || workflowInfo().continueAsNewSuggested)) {
      await condition(allHandlersFinished)
      const carried = { ledger: ledger.snapshot(), running: [...running], ending: [...ending], paused }
      await continueAsNew<typeof ingest>({ ...input, pollers, carried })
    }
  }
}

/** Signals another workflow; false where it is not there: a window that closed, or a poller that was ended. */
async function tell<Args extends unknown[]>(
  workflowId: string,
  signal: SignalDefinition<Args>,
  ...args: Args
): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(workflowId).signal(signal, ...args)
    return true
  } catch (error) {
    signalUnheard(signal.name)
    log.info('A workflow could not be signalled; it has ended.', { workflowId, signal: signal.name, error })
    return false
  }
}
