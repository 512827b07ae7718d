import type { UpdateDefinition } from '@temporalio/common'
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  patched,
  setHandler,
  sleep,
  workflowInfo,
  type SignalDefinition,
} from '@temporalio/workflow'
import {
  acceptLog,
  awaited,
  claim,
  flush,
  ingestStatus,
  pause,
  pollerEnded,
  resume,
  scale,
  settled,
  wake,
  windowSource,
  type IngestStatus,
} from '../contract/messages'
import type { IngestInput } from '../contract/workflows'
import { Ledger } from '../core/window/ledger'
import { describeWhenAsked } from './details'
import { Pollers, SILENT_AFTER } from './ingest-pollers'
import { WindowSignals } from './ingest-windows'
import { describeLedger } from './ledger-report'

/**
 * The server accepts 2,000 updates per run, and does not suggest continuing as new because of them. A short run lets
 * another worker take the ledger over quickly.
 */
const MAX_MESSAGES = 500

/**
 * The ledger of a pipeline (see {@link Ledger}): starts the pollers and closes windows. A cancel request changes
 * nothing: the ledger would forget what is done.
 */
export function ingest(input: IngestInput): Promise<void> {
  return CancellationScope.nonCancellable(() => new IngestRun(input).untilContinued())
}

class IngestRun {
  /** False in a run of an older release: it closes windows without waiting for their answers. */
  private readonly looksAfter = patched('the ledger looks after its workflows')
  /** False in a run of an older release, whose replay must close the same windows. */
  private readonly capsIdleClaims = patched('the ledger caps idle claims')
  private readonly ledger: Ledger
  private readonly pollers: Pollers
  private readonly windows: WindowSignals
  private messages = 0
  private mustLook = false

  constructor(private readonly input: IngestInput) {
    const { settings, carried, startPositions } = input
    this.ledger = new Ledger(settings, carried?.ledger, startPositions)
    this.pollers = new Pollers(input, this.looksAfter)
    this.windows = new WindowSignals(settings, this.ledger, this.looksAfter)
    describeWhenAsked(() => describeLedger(this.ledger, settings))
    this.handleMessages()
  }

  async untilContinued(): Promise<void> {
    const { ledger, pollers, windows } = this
    if (this.looksAfter) void this.lookRegularly()
    for (;;) {
      await condition(() => pollers.mustReconcile || this.mustLook || ledger.hasDue() || this.isFull)
      if (this.mustLook) {
        this.mustLook = false
        pollers.lookForSilent()
      }
      if (pollers.mustReconcile) await pollers.reconcile()
      await windows.sendDue()
      if (this.mayContinueAsNew) await this.continue()
    }
  }

  /** Looks after pollers and closing windows even if no message arrives. */
  private async lookRegularly(): Promise<void> {
    for (;;) {
      await condition(() => this.pollers.wanted > 0 || this.ledger.closing.length > 0)
      await sleep(SILENT_AFTER, { summary: 'look after pollers and closing windows' })
      this.mustLook = true
    }
  }

  private get isFull(): boolean {
    return this.messages >= MAX_MESSAGES || workflowInfo().continueAsNewSuggested
  }

  /** Windows that are due come first, unless the history has no room for them: the next run sends them. */
  private get mayContinueAsNew(): boolean {
    if (!this.isFull || this.pollers.mustReconcile) return false
    return !this.ledger.hasDue() || workflowInfo().continueAsNewSuggested
  }

  private async continue(): Promise<never> {
    await condition(allHandlersFinished)
    const carried = { ledger: this.ledger.snapshot(), ...this.pollers.carried() }
    return continueAsNew<typeof ingest>({ ...this.input, pollers: this.pollers.wanted, carried })
  }

  private handleMessages(): void {
    const { ledger, pollers } = this
    this.on(claim, request => {
      pollers.heard(request.poller)
      return { ...ledger.claim(request), now: Date.now() }
    })
    this.on(flush, request => {
      pollers.heard(request.poller)
      const now = Date.now()
      return { ...ledger.flush(request, this.capsIdleClaims ? now : Infinity), now }
    })
    this.on(scale, n => pollers.scale(n))
    this.on(pause, () => pollers.pause())
    this.on(resume, () => pollers.resume())
    this.on(pollerEnded, n => pollers.ended(n))
    this.on(settled, settlement => ledger.settled(settlement))
    setHandler(windowSource, start => ledger.sourceOf(start) ?? null)
    this.on(wake, () => undefined)
    this.on(acceptLog, request => ledger.acceptLog(request))
    setHandler(awaited, (partitions, now) => ledger.awaited(partitions, now))
    setHandler(ingestStatus, () => this.status())
  }

  /** Handles a message that counts towards {@link MAX_MESSAGES}. */
  private on<Result, Args extends unknown[]>(
    message: UpdateDefinition<Result, Args> | SignalDefinition<Args>,
    handle: (...args: Args) => Result,
  ): void {
    setHandler(message as UpdateDefinition<Result, Args>, (...args) => {
      this.messages++
      return handle(...args)
    })
  }

  private status(): IngestStatus {
    const { ledger, pollers } = this
    const { running, paused } = pollers.carried()
    return {
      settings: this.input.settings,
      pollers: pollers.wanted,
      paused,
      running: running.sort((a, b) => a - b),
      ledger: ledger.snapshot(),
      frontier: Number.isFinite(ledger.frontier) ? ledger.frontier : null,
    }
  }
}
