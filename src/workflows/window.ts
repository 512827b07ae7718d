import {
  condition,
  continueAsNew,
  log,
  ParentClosePolicy,
  proxyActivities,
  setHandler,
  setWorkflowOptions,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow'
import type { Activities, WindowInput } from '../activities/types'
import { encodedBytes } from '../core/columnar'
import { grouped } from '../core/markdown'
import type { Delta, Overlap } from '../core/messages'
import { pieceId } from '../core/names'
import { formatWindow } from '../core/tumbling-window'
import { describeWindow, type Told } from '../core/window-report'
import { MAX_PIECE_BYTES, WindowState, type Piece, type WindowSnapshot } from '../core/window-state'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { drop } from './counters'
import { addDeltas, closeWindow, publishWindow, windowProgress, type WindowProgress } from './messages'
import type { piece } from './piece'
import { pipelineAttributes } from './search-attributes'
import { WindowVisibility, type Moment } from './window-visibility'

const { openWindow, writeWindow, recordClosed } = proxyActivities<Activities>({
  startToCloseTimeout: '2m',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '10s' },
})

/** The server takes 10,000 signals a run and suggests nothing before that. */
const SIGNALS_PER_RUN = 2_000
/** Late events that correct a published result are gathered for so long. */
const CORRECTION_INTERVAL = '5s'

export interface WindowRunInput extends WindowInput {
  /** From the run before, where this one continues it. */
  carried?: {
    opened: boolean
    told: Told
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

/**
 * One tumbling window: asks Postgres whether it is closed already, accumulates deltas, sleeps until its end plus
 * the watermark delay, waits to be told, and writes its totals. With an allowed lateness it publishes them first,
 * and again when late events have changed them, until it is told to close.
 */
export async function window(input: WindowRunInput): Promise<WindowSummary> {
  return new WindowRun(input).run()
}
setWorkflowOptions(finishedByItsBuild, window)

class WindowRun {
  private readonly name: string
  /** The same for all runs that continue one another. */
  private readonly chain = workflowInfo().firstExecutionRunId
  private readonly window: WindowState
  private state: WindowProgress['state'] = 'opening'
  private told: Told
  /** Of the result in Postgres; 0 before the first. */
  revision: number
  /** Whether deltas were applied that the result does not have. */
  private changed: boolean
  private inbox: Delta[] = []
  private signals = 0
  private readonly piecesUnderWay = new Set<Promise<unknown>>()
  private written = { groups: 0, otherHits: 0 }
  lateHits = 0
  private readonly visibility = new WindowVisibility(() => this)
  /** Once it has ended. */
  private outcome: string | undefined

  constructor(private readonly input: WindowRunInput) {
    const { settings, start, carried } = input
    this.name = formatWindow(start, settings.windowSize)
    this.window = new WindowState(carried?.window)
    this.told = carried?.told ?? 'wait'
    this.revision = carried?.revision ?? 0
    this.changed = carried?.changed ?? false
    setHandler(addDeltas, deltas => this.receive(deltas))
    setHandler(publishWindow, () => {
      if (this.told === 'wait') this.told = 'publish'
    })
    setHandler(closeWindow, () => {
      this.told = 'close'
    })
    setHandler(windowProgress, () => this.progress())
    describeWhenAsked(() => this.describe())
  }

  async run(): Promise<WindowSummary> {
    const { settings, start } = this.input
    const publishable = start + settings.windowSize + settings.watermarkDelay
    const over = this.passing(publishable, `until ${this.name} is over and its watermark delay has passed`)
    if (!this.input.carried?.opened) {
      const known = await this.whatPostgresKnows(over)
      if (known) return this.endAsClosed(known.revision)
    }
    this.window.open()
    this.enter(this.revision > 0 ? 'published' : 'open')

    const done =
      settings.allowedLateness === 0
        ? over
        : this.passing(publishable + settings.allowedLateness, `until ${this.name} takes no more corrections`)
    const mayClose = () => this.told === 'close' && done.passed
    const mayPublish = () => this.revision === 0 && this.told !== 'wait' && over.passed
    for (;;) {
      await condition(() => mayClose() || mayPublish() || this.mustCorrect || this.full)
      if (mayClose()) break
      if (this.full) await this.continue(true)
      if (this.revision > 0)
        await condition(mayClose, CORRECTION_INTERVAL, {
          summary: `corrections of ${this.name} are gathered`,
        })
      if (mayClose()) break
      // While Postgres is away corrections go on arriving: this run's history stays bounded.
      const givenUp = () => this.full && this.visibility.stuck !== undefined
      if (!(await this.write('published', { givenUp }))) await this.continue(true)
      this.enter('published')
      this.visibility.show('published')
    }
    this.enter('closing')
    await this.write('closed')
    // Looked at again until the end: a delta that arrives while the run completes makes the server ask once more.
    await this.recordLate()
    return this.end(this.summary())
  }

  /** Before anything is merged: Temporal may have forgotten a run that closed this window, Postgres has not. */
  private async whatPostgresKnows(over: Moment): Promise<{ revision: number } | null> {
    const { settings, start } = this.input
    const options = { summary: `is ${this.name} closed already?` }
    const ask = () => openWindow.executeWithOptions(options, [{ settings, start }])
    const known = await this.visibility.watched(`ask Postgres whether ${this.name} is closed`, ask, {
      // Nothing waits for the answer before the window is over, and the timer of that runs already.
      needed: over,
      // However long Postgres is away, this run's history stays bounded.
      givenUp: () => this.full,
    })
    if (known === undefined) await this.continue(false)
    return known ?? null
  }

  private get mustCorrect(): boolean {
    return this.revision > 0 && this.changed
  }

  private get full(): boolean {
    return this.signals >= SIGNALS_PER_RUN || workflowInfo().continueAsNewSuggested
  }

  /** A moment (epoch ms) that passes by the clock, as a durable timer. */
  private passing(at: number, summary: string): Moment {
    const moment: Moment = { at, passed: at <= Date.now() }
    const pass = () => {
      moment.passed = true
    }
    // A run that ends before, by hand, has no use for it.
    if (!moment.passed) sleep(at - Date.now(), { summary }).then(pass, () => undefined)
    return moment
  }

  private receive(deltas: Delta[]): void {
    this.signals++
    this.inbox.push(...deltas)
    if (this.state !== 'closing') this.merge()
  }

  private merge(): void {
    for (const delta of this.inbox.splice(0)) {
      const verdict = this.window.apply(delta)
      if (verdict === 'applied') this.changed = true
      else drop(verdict)
      if (verdict !== 'overlap') continue
      const { partition, first, last } = delta
      log.error('A delta overlaps what was applied; it is not counted. Replay this window.', {
        partition,
        first,
        last,
      })
    }
    for (const piece of this.window.takePieces()) this.sendPiece(piece)
  }

  /** What does not fit one message waits in a workflow of its own until Postgres has taken it. */
  private sendPiece({ number, counts }: Piece): void {
    const { settings, start } = this.input
    const sent = startChild<typeof piece>('piece', {
      workflowId: pieceId(settings.group, start, this.chain, number),
      args: [{ settings, start, chain: this.chain, number, counts }],
      // This run may continue as new before the piece is taken.
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `piece ${number} of ${this.name}`,
      typedSearchAttributes: pipelineAttributes(settings),
    })
    this.piecesUnderWay.add(sent)
    void sent.then(() => this.piecesUnderWay.delete(sent))
  }

  private async continue(opened: boolean): Promise<never> {
    await condition(() => this.piecesUnderWay.size === 0)
    const { told, revision, changed } = this
    const carried = { opened, told, revision, changed, window: this.window.snapshot() }
    return continueAsNew<typeof window>({ ...this.input, carried })
  }

  /** False where it was given up: that attempt may succeed all the same, so that the next one has a higher revision. */
  private async write(
    status: 'published' | 'closed',
    until: { givenUp?: () => boolean } = {},
  ): Promise<boolean> {
    const { settings, start } = this.input
    if (this.changed || this.revision === 0) this.revision++
    this.changed = false
    const { revision, window } = this
    const { hits, unlocated, applied, groups } = window
    const pieces = { chain: this.chain, count: window.pieces }
    const size = `${grouped(hits)} hits, ${grouped(groups)} groups${pieces.count > 0 ? ` and ${pieces.count} pieces` : ''}`
    const summary = `write ${this.name}, ${size}, as revision ${revision}, ${status}`
    const counts = window.columns()
    const result = { settings, start, revision, status, hits, unlocated, counts, pieces, applied }
    const write = () => writeWindow.executeWithOptions({ summary }, [result])
    const written = await this.visibility.watched(`write revision ${revision}`, write, until)
    if (!written) {
      this.changed = true
      return false
    }
    this.written = written
    return true
  }

  /** Deltas for a closed window are repeats, or late; Postgres tells which, under the window's lock. */
  private async recordLate(waited: Delta[] = [], pieces = 0): Promise<void> {
    const { settings, start } = this.input
    this.inbox.unshift(...waited)
    while (this.inbox.length > 0 || pieces > 0) {
      const deltas = this.takeFitting()
      const options = { summary: `${deltas.length} deltas after ${this.name} had closed` }
      const late = { settings, start, deltas, pieces: { chain: this.chain, count: pieces } }
      const record = () => recordClosed.executeWithOptions(options, [late])
      const outcome = await this.visibility.watched('record late events', record)
      pieces = 0
      this.lateHits += outcome.lateHits
      this.window.repeats += outcome.repeats
      this.window.overlaps.push(...outcome.overlaps)
    }
  }

  /** As many deltas, and at least one, as go into one message. */
  private takeFitting(): Delta[] {
    let bytes = 0
    const beyond = this.inbox.findIndex(delta => (bytes += encodedBytes(delta)) > MAX_PIECE_BYTES)
    return this.inbox.splice(0, beyond < 0 ? this.inbox.length : Math.max(1, beyond))
  }

  /** An earlier run closed the window: what this one was sent is not part of the result. */
  private async endAsClosed(revision: number): Promise<WindowSummary> {
    this.enter('closing')
    this.revision = revision
    await this.recordLate(this.window.takeWaiting(), this.window.pieces)
    const { repeats, overlaps } = this.window
    const { lateHits } = this
    const summary = `${this.name}: was closed before, as revision ${revision}${this.lateClause}.`
    const none = { hits: 0, groups: 0, otherHits: 0, deltas: 0 }
    return this.end({ summary, ...none, revision, repeats, lateHits, overlaps })
  }

  private end(summary: WindowSummary): WindowSummary {
    this.outcome = summary.summary
    this.enter('closed')
    this.visibility.show('closed')
    return summary
  }

  private summary(): WindowSummary {
    const { hits, deltas, repeats, overlaps } = this.window
    const { revision, lateHits } = this
    const { groups, otherHits } = this.written
    const other = otherHits > 0 ? `, ${otherHits} hits of further groups under (other)` : ''
    const wrote = `${grouped(hits)} hits in ${grouped(groups)} groups${other}, written as revision ${revision}`
    const summary = `${this.name}: ${wrote}${this.lateClause}${this.unlocatedClause}.`
    return { summary, hits, groups, otherHits, revision, deltas, repeats, lateHits, overlaps }
  }

  private get lateClause(): string {
    if (this.lateHits === 0) return ''
    return `; ${this.lateHits} hits came after it had closed and were counted as late`
  }

  private get unlocatedClause(): string {
    const { unlocated } = this.window
    return unlocated > 0 ? `; ${unlocated} hits are under ?? since their look-up failed: replay it` : ''
  }

  private enter(state: WindowProgress['state']): void {
    this.state = state
  }

  private progress(): WindowProgress {
    const { state, revision, lateHits } = this
    const { hits, unlocated, groups, deltas, repeats, pieces } = this.window
    const { stuck } = this.visibility
    return { state, hits, unlocated, groups, deltas, repeats, pieces, revision, lateHits, stuck }
  }

  private describe(): string {
    const { settings, start } = this.input
    const { name, told, outcome } = this
    const { overlaps, applied } = this.window
    const counts = this.window.columns()
    return describeWindow({
      settings,
      start,
      name,
      told,
      outcome,
      overlaps,
      applied,
      counts,
      ...this.progress(),
    })
  }
}
