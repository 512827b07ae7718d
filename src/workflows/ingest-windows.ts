import { ParentClosePolicy, startChild } from '@temporalio/workflow'
import { windowId } from '../contract/ids'
import { closeWindow, publishWindow } from '../contract/messages'
import { windowAttributes, windowMemo } from '../contract/search-attributes'
import type { ClosingWindow } from '../core/window/books'
import type { Ledger } from '../core/window/ledger'
import type { ToldBook } from '../core/window/protocol'
import type { PipelineSettings } from '../core/settings'
import { formatWindow } from '../core/window/tumbling-window'
import { isStarted, signalIfRunning } from './signal-if-running'
import type { window } from './window'

/** How many signals to windows may be under way at once. */
const MAX_PARALLEL = 200
/** Windows to signal before the loop checks the history's length: each adds two events, and a run may have 51,200. */
const MAX_DUE = 1_000

/** Sends windows the publish and close signals that the ledger decides on. */
export class WindowSignals {
  /** @param awaitsAnswers whether a window stays in the ledger until its answer balances */
  constructor(
    private readonly settings: PipelineSettings,
    private readonly ledger: Ledger,
    private readonly awaitsAnswers: boolean,
  ) {}

  async sendDue(): Promise<void> {
    const { publish } = this.ledger.takeDue(Date.now(), MAX_DUE)
    await inParallel(publish, start =>
      signalIfRunning(this.idOf(start), publishWindow, this.ledger.books.sumsOf(start)),
    )
    await inParallel(this.ledger.books.due(Date.now(), MAX_DUE), closing => this.close(closing))
  }

  private async close(closing: ClosingWindow): Promise<void> {
    const { ledger } = this
    const { start } = closing
    const books = ledger.books.booksOf(start)
    const isRunning = await signalIfRunning(this.idOf(start), closeWindow, books)
    if (!this.awaitsAnswers) return ledger.settled({ start, books: [closing.book] })
    ledger.books.signalSent(closing, Date.now())
    if (isRunning) return
    // A window without sums was opened by an older release, which never answers: it has ended as it should.
    if (books.every(book => !('hits' in book)))
      ledger.settled({ start, books: books.map(({ book }) => book) })
    else await this.start(start, books)
  }

  /**
   * Starts a run that finds out whether the last one closed the window or was ended by hand. If a late delta has
   * started one meanwhile, that one receives the next close signal.
   */
  private async start(start: number, books: ToldBook[]): Promise<void> {
    const { settings } = this
    const child = startChild<typeof window>('window', {
      workflowId: this.idOf(start),
      args: [{ settings, start, books }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: formatWindow(start, settings.windowSize),
      typedSearchAttributes: windowAttributes(settings, start),
      memo: windowMemo(settings),
    })
    await isStarted(child)
  }

  private idOf(start: number): string {
    return windowId(this.settings.group, start)
  }
}

async function inParallel<T>(items: T[], each: (item: T) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < items.length; i += MAX_PARALLEL)
    await Promise.all(items.slice(i, i + MAX_PARALLEL).map(each))
}
