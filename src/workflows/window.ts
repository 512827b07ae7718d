import {
  CancellationScope,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  log,
  ParentClosePolicy,
  patched,
  proxyActivities,
  setHandler,
  setWorkflowOptions,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow'
import type { Activities, KnownWindow } from '../contract/activities'
import { isBalanced, type Balance, type Delta, type ToldBook } from '../core/window/protocol'
import { ingestId, pieceId, repairCommand } from '../contract/ids'
import { formatWindow } from '../core/window/tumbling-window'
import { describeWindow } from './window-report'
import { deltaBytes, MAX_PIECE_BYTES, WindowState, type Piece } from '../core/window/window-state'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { drop } from './counters'
import {
  addDeltas,
  closeWindow,
  publishWindow,
  settled,
  type Told,
  windowProgress,
  type WindowProgress,
} from '../contract/messages'
import type { piece } from './piece'
import { pipelineAttributes } from '../contract/search-attributes'
import { WindowVisibility, type Moment } from './window-visibility'
import type { WindowRunInput, WindowSummary } from '../contract/workflows'
import { counted, grouped } from '../core/numbers'

const { openWindow, writeWindow, recordClosed, recordExceptions, stagePiece } = proxyActivities<Activities>({
  startToCloseTimeout: '2m',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '10s' },
})

/** The server takes 10,000 signals a run and suggests nothing before that. */
const SIGNALS_PER_RUN = 2_000
/** Late events that correct a published result are gathered for so long. */
const CORRECTION_INTERVAL = '5s'
/** Late and rejected records are gathered for so long. */
const EXCEPTIONS_INTERVAL = '2s'

/**
 * One tumbling window: asks Postgres whether it is closed already, accumulates deltas, sleeps until its end plus
 * the watermark delay, waits for the ledger's word, and writes its totals. With an allowed lateness it publishes them
 * first, and again when late events have changed them, until the ledger closes it.
 *
 * Its states, each entered in one place: `opening` until Postgres has answered; `open`; `published` while corrections
 * may come; `closing` from the ledger's word on, when nothing is merged any more; `closed`. A window that holds less than
 * the ledger's books say stays in `closing`, stuck, until it is repaired.
 *
 * A request to cancel changes nothing: counts that were accepted would be lost.
 */
export async function window(input: WindowRunInput): Promise<WindowSummary> {
  const run = new WindowRun(input)
  return CancellationScope.nonCancellable(() => run.run())
}
setWorkflowOptions(finishedByItsBuild, window)

class WindowRun {
  private readonly name: string
  /** The same for all runs that continue one another. */
  private readonly chain = workflowInfo().firstExecutionRunId
  private readonly window: WindowState
  private state: WindowProgress['state'] = 'opening'
  private told: Told
  /** What the ledger said that the window should hold. */
  private books: ToldBook[]
  /** What the first result has to have. */
  private announced: Balance['told'] | undefined
  /** Of the result in Postgres; 0 before the first. */
  revision: number
  /** Whether deltas were applied that the result does not have. */
  private changed: boolean
  private inbox: Delta[] = []
  private signals = 0
  private readonly piecesUnderWay = new Set<Promise<unknown>>()
  private exceptionsAreDue = false
  /** Whether it would close if Postgres took what it has to record before. */
  private isDue = () => false
  private gathering = false
  private written: { groups: number; otherHits: number; balance?: Balance } = { groups: 0, otherHits: 0 }
  lateHits = 0
  private readonly visibility = new WindowVisibility(() => this)
  /** Once it has ended. */
  private outcome: string | undefined

  constructor(private readonly input: WindowRunInput) {
    const { settings, start, carried } = input
    this.name = formatWindow(start, settings.windowSize)
    this.window = new WindowState(carried?.window)
    this.books = carried?.books ?? input.books ?? []
    this.told = carried?.told ?? (input.books ? 'close' : 'wait')
    this.announced = carried?.announced
    this.revision = carried?.revision ?? 0
    this.changed = carried?.changed ?? false
    setHandler(addDeltas, deltas => this.receive(deltas))
    setHandler(publishWindow, announced => {
      if (this.told === 'wait') this.told = 'publish'
      this.announced = announced
    })
    setHandler(closeWindow, books => this.toldToClose(books))
    setHandler(windowProgress, () => this.progress())
    describeWhenAsked(() => this.describe())
  }

  async run(): Promise<WindowSummary> {
    const { settings, start } = this.input
    const publishable = start + settings.windowSize + settings.watermarkDelay
    const over = this.passing(publishable, `until ${this.name} is over and its watermark delay has passed`)
    if (!this.input.carried?.opened) {
      const known = await this.whatPostgresKnows(over)
      if (known) return this.endAsClosed(await this.closedRevision(known))
    }
    this.window.open()
    this.enter(this.revision > 0 ? 'published' : 'open')
    this.absorb()

    const done =
      settings.allowedLateness === 0
        ? over
        : this.passing(publishable + settings.allowedLateness, `until ${this.name} takes no more corrections`)
    await this.untilClosable(over, done)
    await this.emptyHands()
    this.enter('closing')
    const repaired = await this.untilComplete()
    if (repaired) return this.endAsClosed(repaired.revision)
    await this.write('closed')
    // A delta that arrives while the run completes makes the server repeat the task: look again until the end.
    await this.recordLate()
    return this.end(this.summary())
  }

  /** Publishes and corrects, and continues as new, until the ledger and the clock let the window close. */
  private async untilClosable(over: Moment, done: Moment): Promise<void> {
    const mayClose = () => this.told === 'close' && done.passed
    this.isDue = mayClose
    const mayPublish = () =>
      this.revision === 0 && this.told !== 'wait' && over.passed && this.holds(this.announced)
    const hasWork = () => this.lacksRoom || this.exceptionsAreDue
    for (;;) {
      await condition(() => mayClose() || mayPublish() || this.mustCorrect || this.mayContinue || hasWork())
      if (mayClose()) return
      if (this.mayContinue) await this.continue(true)
      if (hasWork()) {
        if (!(await this.makeRoom())) await this.continue(true)
        continue
      }
      if (this.revision > 0)
        await condition(mayClose, CORRECTION_INTERVAL, {
          summary: `corrections of ${this.name} are gathered`,
        })
      if (mayClose()) return
      // While Postgres is away corrections go on arriving: this run's history stays bounded.
      const givenUp = () => this.mayContinue && this.visibility.stuck !== undefined
      if (!(await this.write('published', { givenUp }))) await this.continue(true)
      this.enter('published')
      this.visibility.show('published')
    }
  }

  /** A result that was published and not closed is of a run that was ended by hand: the window waits to be repaired. */
  private async closedRevision({ revision, status }: KnownWindow): Promise<number> {
    if (status !== 'published') return revision
    this.enter('closing')
    await condition(() => this.told === 'close')
    const what = 'An earlier run had published a first result, and was ended before it closed the window.'
    return (await this.untilRepaired(what)).revision
  }

  /** Before anything is merged: Temporal may have forgotten a run that closed this window, Postgres has not. */
  private async whatPostgresKnows(over: Moment): Promise<KnownWindow | null> {
    const { settings, start } = this.input
    const options = { summary: `is ${this.name} closed already?` }
    const ask = () => openWindow.executeWithOptions(options, [{ settings, start }])
    const known = await this.visibility.watched(`ask Postgres whether ${this.name} is closed`, ask, {
      // Nothing waits for the answer before the window is over, and the timer of that runs already.
      needed: over,
      // However long Postgres is away, this run's history stays bounded.
      givenUp: () => this.mayContinue,
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

  /** Continuing as new must not leave deltas behind: pollers send no more than a history has room for. */
  private get mayContinue(): boolean {
    return this.full && this.inbox.length === 0
  }

  private receive(deltas: Delta[]): void {
    this.signals++
    this.inbox.push(...deltas)
    if (this.state !== 'closing') this.absorb()
  }

  private toldToClose(books: ToldBook[] = []): void {
    this.told = 'close'
    for (const book of books) if (!this.books.some(known => known.book === book.book)) this.books.push(book)
  }

  /** Merges what has come, as far as there is room for it. */
  private absorb(): void {
    for (let delta = this.inbox[0]; delta; delta = this.inbox[0]) {
      if (!this.window.hasRoomForExceptionsOf(delta)) break
      if (!this.window.hasRoomFor(delta) && !this.cutOldPiece()) break
      this.inbox.shift()
      this.merge(delta)
    }
    if (this.window.toRecord.length > 0) this.gatherExceptions()
  }

  private merge(delta: Delta): void {
    const verdict = this.window.apply(delta)
    if (verdict === 'applied') this.changed ||= delta.hits > 0
    else drop(verdict)
    if (verdict !== 'overlap') return
    const { partition, first, last } = delta
    log.error('A delta overlaps what was applied; it is not counted. Repair this window.', {
      partition,
      first,
      last,
    })
  }

  private get lacksRoom(): boolean {
    return this.inbox.length > 0
  }

  private gatherExceptions(): void {
    if (this.gathering || this.exceptionsAreDue) return
    this.gathering = true
    const gathered = () => {
      this.gathering = false
      this.exceptionsAreDue = this.window.toRecord.length > 0
    }
    void sleep(EXCEPTIONS_INTERVAL, { summary: 'late and rejected records are gathered' }).then(gathered)
  }

  /** Hands Postgres what there is no room for here; false where it was given up, since this run is full. */
  private async makeRoom(): Promise<boolean> {
    if (this.exceptionsAreDue || (this.inbox[0] && !this.window.hasRoomForExceptionsOf(this.inbox[0])))
      return this.recordExceptions({ givenUp: () => this.mayContinue })
    await this.stage(this.window.cutPiece())
    return true
  }

  /** Before the window closes: everything that has come is merged, and all exceptions are recorded. */
  private async emptyHands(): Promise<void> {
    while (this.inbox.length > 0 || this.window.toRecord.length > 0)
      if (this.window.toRecord.length > 0) await this.recordExceptions()
      else await this.stage(this.window.cutPiece())
  }

  private async recordExceptions(until: { givenUp?: () => boolean } = {}): Promise<boolean> {
    const { settings, start } = this.input
    const ranges = this.window.toRecord.map(range => ({ ...range, window: start }))
    const options = { summary: `late and rejected records of ${ranges.length} ranges` }
    const record = () => recordExceptions.executeWithOptions(options, [{ settings, ranges }])
    const done = await this.visibility.watched('record late and rejected records', record, until)
    if (done === undefined) return false
    this.window.recorded(ranges.length)
    this.exceptionsAreDue = false
    this.absorb()
    return true
  }

  private async stage({ number, counts }: Piece): Promise<void> {
    const { settings, start } = this.input
    const options = { summary: `piece ${number} of ${this.name}` }
    const input = { settings, start, chain: this.chain, number, counts }
    const staged = this.visibility.watched(`stage piece ${number}`, () =>
      stagePiece.executeWithOptions(options, [input]),
    )
    // What waits has the piece's room now.
    this.absorb()
    await staged
    this.absorb()
  }

  /** In a run that an older release began, a piece has a workflow of its own; false in any other. */
  private cutOldPiece(): boolean {
    if (patched('pieces are staged by the window')) return false
    this.sendPiece(this.window.cutPiece())
    return true
  }

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
    const { told, announced, books, revision, changed } = this
    const carried = { opened, told, announced, books, revision, changed, window: this.window.snapshot() }
    return continueAsNew<typeof window>({ ...this.input, carried })
  }

  /**
   * Waits while the window holds less than the ledger's books say: a run before this one was ended by hand, and took its
   * counts with it. What Postgres has once it is repaired; undefined where the window is complete.
   */
  private async untilComplete(): Promise<KnownWindow | undefined> {
    const { lacking } = this
    if (lacking === undefined) return undefined
    // One that had nothing but exceptions has no result: a run before this one may have recorded them and ended.
    const onlyExceptions = this.revision === 0 && sumsOf(this.books).hits === 0
    if (onlyExceptions && (await this.isInPostgres())) return { revision: 0, applied: [] }
    return this.untilRepaired(lacking)
  }

  private async isInPostgres(): Promise<boolean> {
    const { settings, start } = this.input
    const asked = { settings, start, deltas: [], books: this.books }
    const options = { summary: `do the books of ${this.name} balance?` }
    const ask = () => recordClosed.executeWithOptions(options, [asked])
    const { balance } = await this.visibility.watched('ask Postgres for its balance', ask)
    return balance !== undefined && isBalanced(balance)
  }

  private async untilRepaired(what: string): Promise<KnownWindow> {
    const { settings, start } = this.input
    await this.settle(this.books, { told: sumsOf(this.books), accounted: this.held })
    const options = { summary: `has ${this.name} been repaired?` }
    const ask = async () => {
      const known = await openWindow.executeWithOptions(options, [{ settings, start }])
      return known?.status === 'published' ? null : known
    }
    return this.visibility.untilRepaired(`${what} ${repairCommand(start)}`, ask)
  }

  private holds(announced: Balance['told'] | undefined): boolean {
    const { hits, exceptions } = this.held
    return !announced || (hits >= announced.hits && exceptions >= announced.exceptions)
  }

  private get held(): Balance['accounted'] {
    const { hits, exceptions } = this.window
    return { hits, exceptions }
  }

  /** In a sentence; undefined where nothing is lacking. */
  private get lacking(): string | undefined {
    const told = sumsOf(this.books)
    if (this.holds(told)) return undefined
    const { hits, exceptions } = this.held
    return (
      `The ledger announced ${counted(told.hits, 'hit')} and ${counted(told.exceptions, 'late or rejected record')} for it, ` +
      `and this run has ${grouped(hits)} and ${grouped(exceptions)}: an earlier run was ended before it had written them.`
    )
  }

  /** Answers the ledger, which keeps the window in its books until then. */
  private async settle(told: ToldBook[], balance: Balance | undefined): Promise<void> {
    const { settings, start } = this.input
    if (told.length === 0) return
    const books = told.map(({ book }) => book)
    try {
      const ledger = getExternalWorkflowHandle(ingestId(settings.group))
      await ledger.signal(settled, { start, books, ...(balance && { balance }) })
    } catch (error) {
      log.warn('The ledger could not be told that the window is settled; it will ask again.', {
        start,
        error,
      })
    }
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
    const { stagedDeltas } = window
    const books = status === 'closed' ? this.takeBooks() : []
    const parts = pieces.count + stagedDeltas
    const size = `${grouped(hits)} hits, ${grouped(groups)} groups${parts > 0 ? ` and ${parts} staged parts` : ''}`
    const summary = `write ${this.name}, ${size}, as revision ${revision}, ${status}`
    const counts = window.columns()
    const result = {
      ...{ settings, start, revision, status, hits, unlocated, counts, pieces, applied },
      ...(stagedDeltas > 0 && { staged: window.staged }),
      ...(books.length > 0 && { books }),
    }
    const write = () => writeWindow.executeWithOptions({ summary }, [result])
    const written = await this.visibility.watched(`write revision ${revision}`, write, until)
    if (!written) {
      this.changed = true
      return false
    }
    this.written = written
    await this.settle(books, written.balance)
    return true
  }

  /** Deltas for a closed window are repeats, or late; Postgres tells which, under the window's lock. */
  private async recordLate(waited: Delta[] = [], pieces = 0): Promise<void> {
    const { settings, start } = this.input
    this.inbox.unshift(...waited)
    while (this.inbox.length > 0 || pieces > 0 || this.books.length > 0) {
      const deltas = this.takeFitting()
      // The balance is that of everything that has come.
      const books = this.inbox.length === 0 ? this.takeBooks() : []
      const what =
        deltas.length > 0 ? `${deltas.length} deltas after ${this.name} had closed` : `books of ${this.name}`
      const late = {
        ...{ settings, start, deltas, pieces: { chain: this.chain, count: pieces } },
        ...(books.length > 0 && { books }),
      }
      const record = () => recordClosed.executeWithOptions({ summary: what }, [late])
      const outcome = await this.visibility.watched('record late events', record)
      pieces = 0
      this.lateHits += outcome.lateHits
      this.window.repeats += outcome.repeats
      this.window.overlaps.push(...outcome.overlaps)
      await this.settle(books, outcome.balance)
    }
  }

  private takeBooks(): ToldBook[] {
    return this.books.splice(0)
  }

  /** As many deltas, and at least one, as go into one message. */
  private takeFitting(): Delta[] {
    let bytes = 0
    const beyond = this.inbox.findIndex(delta => (bytes += deltaBytes(delta)) > MAX_PIECE_BYTES)
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
    const other = otherHits > 0 ? `, ${counted(otherHits, 'hit')} of further groups under (other)` : ''
    const wrote = `${counted(hits, 'hit')} in ${counted(groups, 'group')}${other}, written as revision ${revision}`
    const summary = `${this.name}: ${wrote}${this.lateClause}${this.unlocatedClause}.`
    return { summary, hits, groups, otherHits, revision, deltas, repeats, lateHits, overlaps }
  }

  private get lateClause(): string {
    if (this.lateHits === 0) return ''
    return `; ${counted(this.lateHits, 'hit')} after it had closed, counted as late`
  }

  private get unlocatedClause(): string {
    const { unlocated } = this.window
    return unlocated > 0
      ? `; ${counted(unlocated, 'hit')} under ?? because the country lookup failed: replay it`
      : ''
  }

  private enter(state: WindowProgress['state']): void {
    this.state = state
  }

  private progress(): WindowProgress {
    const { revision, lateHits } = this
    const state = this.isDue() && this.state !== 'closed' ? 'closing' : this.state
    const { hits, unlocated, groups, deltas, repeats, pieces, stagedDeltas: staged } = this.window
    const { stuck } = this.visibility
    const parts = { pieces, staged }
    return { state, hits, unlocated, groups, deltas, repeats, ...parts, revision, lateHits, stuck }
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

function sumsOf(books: ToldBook[]): Balance['told'] {
  const sums = { hits: 0, exceptions: 0 }
  for (const book of books)
    if ('hits' in book) {
      sums.hits += book.hits
      sums.exceptions += book.exceptions
    }
  return sums
}
