import {
  CancellationScope,
  condition,
  continueAsNew,
  setHandler,
  setWorkflowOptions,
  sleep,
} from '@temporalio/workflow'
import type { KnownWindow } from '../contract/activities'
import {
  addDeltas,
  closeWindow,
  publishWindow,
  windowProgress,
  type WindowMode,
  type WindowProgress,
} from '../contract/messages'
import type { WindowRunInput, WindowSummary } from '../contract/workflows'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { OldPieces } from './old-release'
import { sink } from './sink'
import { WindowBooks } from './window-books'
import { WindowExceptions } from './window-exceptions'
import { WindowInbox } from './window-inbox'
import { closedRevision, untilComplete } from './window-repair'
import { describeWindow } from './window-report'
import { WindowResult } from './window-result'
import { WindowRun } from './window-run'
import { WindowSpill } from './window-spill'
import type { Moment } from './window-visibility'

/*
 * The modes of a window:
 *
 *                 ┌───────────────────────────────────────┐
 *   ──▶ opening ──┼──▶ open ──┬──────────────────────┐    │
 *                 │           ▼                      ▼    ▼
 *                 └──────▶ published ◀┐ ─────────▶ closing ──▶ closed
 *                              └──────┘
 *
 * opening    Asks Postgres whether an earlier run closed the window. Deltas wait unmerged.
 * open       Merges deltas until the clock and the ledger allow the window to publish or close.
 * published  Postgres has a result. Deltas within the allowed lateness correct it, each time as the next revision.
 * closing    Merges nothing more. Compares its counts with the ledger's books, writes the result, and records what
 *            still arrives as late. A window with fewer counts than its books stays here, stuck, until it is repaired.
 * closed     The run ends.
 */
const NEXT_MODES: Record<WindowMode, WindowMode[]> = {
  opening: ['open', 'published', 'closing'],
  open: ['published', 'closing'],
  published: ['published', 'closing'],
  closing: ['closed'],
  closed: [],
}

/** How long late events that correct a published result are gathered. */
const CORRECTION_INTERVAL = '5s'

/** One tumbling window. A cancel request changes nothing: accepted counts would be lost. */
export async function window(input: WindowRunInput): Promise<WindowSummary> {
  const window = new Window(input)
  return CancellationScope.nonCancellable(() => window.untilClosed())
}
setWorkflowOptions(finishedByItsBuild, window)

class Window {
  private currentMode: WindowMode = 'opening'
  private readonly run: WindowRun
  private readonly books: WindowBooks
  private readonly oldPieces: OldPieces
  private readonly inbox: WindowInbox
  private readonly spill: WindowSpill
  private readonly result: WindowResult
  /** Whether the window closes once Postgres has its pending exceptions and pieces. */
  private isDue = () => false
  /** The summary, once the window is closed. */
  private outcome: string | undefined

  constructor(private readonly input: WindowRunInput) {
    this.run = new WindowRun(input)
    this.books = new WindowBooks(this.run, input)
    this.oldPieces = new OldPieces(this.run)
    const exceptions = new WindowExceptions(this.run)
    this.inbox = new WindowInbox(this.run, exceptions, this.oldPieces, () => this.mode !== 'closing')
    this.spill = new WindowSpill(this.run, this.inbox, exceptions)
    this.result = new WindowResult(this.run, this.books, this.inbox)
    setHandler(addDeltas, deltas => this.inbox.receive(deltas))
    setHandler(publishWindow, announced => this.books.publish(announced))
    setHandler(closeWindow, books => this.books.close(books))
    setHandler(windowProgress, () => this.progress())
    describeWhenAsked(() => this.describe())
  }

  private get mode(): WindowMode {
    return this.currentMode
  }

  private set mode(next: WindowMode) {
    if (!NEXT_MODES[this.currentMode].includes(next))
      throw new Error(`A window that is ${this.currentMode} cannot become ${next}. This is a bug.`)
    this.currentMode = next
  }

  async untilClosed(): Promise<WindowSummary> {
    const { run, books } = this
    const { settings, start } = run.key
    const over = start + settings.windowSize + settings.watermarkDelay
    const mayPublish = moment(over, `until ${run.name} is over and its watermark delay has passed`)
    if (!this.input.carried?.opened) {
      const known = await this.askPostgres(mayPublish)
      if (known) {
        this.mode = 'closing'
        const revision = await closedRevision(run, books, known)
        // Only here do the pieces consist of deltas.
        return this.endAsClosed(revision, run.counts.pieces)
      }
    }
    run.counts.open()
    this.mode = run.revision > 0 ? 'published' : 'open'
    this.inbox.merge()

    const mayClose =
      settings.allowedLateness === 0
        ? mayPublish
        : moment(over + settings.allowedLateness, `until ${run.name} takes no more corrections`)
    await this.untilClosable(mayPublish, mayClose)
    await this.spill.drain()
    this.mode = 'closing'
    const repaired = await untilComplete(run, books)
    if (repaired !== undefined) return this.endAsClosed(repaired)
    await this.result.write('closed')
    await this.result.recordLate()
    return this.end(this.result.summary())
  }

  /** Asks first: Temporal may have forgotten the run that closed the window. */
  private async askPostgres(mayPublish: Moment): Promise<KnownWindow | null> {
    const { key, name, visibility } = this.run
    const options = { summary: `is ${name} closed already?` }
    const ask = () => sink.openWindow.executeWithOptions(options, [key])
    const known = await visibility.watched(`ask Postgres whether ${name} is closed`, ask, {
      needed: mayPublish,
      givenUp: () => this.inbox.mayContinueAsNew,
    })
    if (known === undefined) await this.continue()
    return known ?? null
  }

  /** Publishes, corrects and continues as new until the clock and the ledger allow the window to close. */
  private async untilClosable(publishing: Moment, closing: Moment): Promise<void> {
    const { run, books, inbox, spill } = this
    const mayClose = () => books.told === 'close' && closing.passed
    const mayPublish = () => run.revision === 0 && publishing.passed && books.mayPublish
    const mustCorrect = () => run.revision > 0 && run.changed
    const mayContinue = () => inbox.mayContinueAsNew
    this.isDue = mayClose
    for (;;) {
      await condition(() => mayClose() || mayPublish() || mustCorrect() || mayContinue() || spill.isDue)
      if (mayClose()) return
      if (mayContinue()) await this.continue()
      if (spill.isDue) {
        if (!(await spill.makeRoom({ givenUp: mayContinue }))) await this.continue()
        continue
      }
      if (run.revision > 0)
        await condition(mayClose, CORRECTION_INTERVAL, { summary: `gather corrections of ${run.name}` })
      if (mayClose()) return
      // Corrections keep arriving while Postgres is down, so the run's history must stay bounded.
      const givenUp = () => mayContinue() && run.visibility.stuck !== undefined
      if (!(await this.result.write('published', { givenUp }))) await this.continue()
      this.mode = 'published'
      run.visibility.show('published')
    }
  }

  private async continue(): Promise<never> {
    await condition(() => this.oldPieces.areSent)
    const { revision, changed, counts } = this.run
    const { told, announced, books } = this.books
    const opened = this.mode !== 'opening'
    const carried = { opened, told, announced, books, revision, changed, window: counts.snapshot() }
    return continueAsNew<typeof window>({ ...this.input, carried })
  }

  /**
   * Ends a window that an earlier run or a repair closed: none of this run's deltas are in the result.
   *
   * @param pieces how many pieces of deltas were staged before Postgres had answered that the window is closed
   */
  private async endAsClosed(revision: number, pieces = 0): Promise<WindowSummary> {
    const { run, result } = this
    run.revision = revision
    await result.recordLate(run.counts.takeWaiting(), pieces)
    return this.end(result.summaryOfClosed())
  }

  private end(summary: WindowSummary): WindowSummary {
    this.outcome = summary.summary
    this.mode = 'closed'
    this.run.visibility.show('closed')
    return summary
  }

  private progress(): WindowProgress {
    const { revision, lateHits, visibility, counts } = this.run
    const state = this.isDue() && this.mode !== 'closed' ? 'closing' : this.mode
    const { hits, unlocated, groups, deltas, repeats, pieces, stagedDeltas: staged } = counts
    const { stuck } = visibility
    return { state, hits, unlocated, groups, deltas, repeats, pieces, staged, revision, lateHits, stuck }
  }

  private describe(): string {
    const { key, name, counts } = this.run
    const { overlaps, applied } = counts
    const told = this.books.told
    const details = { name, told, outcome: this.outcome, overlaps, applied, counts: counts.columns() }
    return describeWindow({ ...key, ...details, ...this.progress() })
  }
}

/** A moment (epoch ms) that passes by a durable timer. */
function moment(at: number, summary: string): Moment {
  const moment: Moment = { at, passed: at <= Date.now() }
  const pass = () => {
    moment.passed = true
  }
  if (!moment.passed) sleep(at - Date.now(), { summary }).then(pass, () => undefined)
  return moment
}
