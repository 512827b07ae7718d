import { getExternalWorkflowHandle, log } from '@temporalio/workflow'
import { counted, grouped } from '../core/numbers'
import { ingestId } from '../contract/ids'
import { settled, type Told } from '../contract/messages'
import type { WindowRunInput } from '../contract/workflows'
import type { Balance, Sums, ToldBook } from '../core/window/protocol'
import type { WindowRun } from './window-run'

/** The ledger's signals to a window, and the comparison of its books with the window's counts. */
export class WindowBooks {
  told: Told
  /** Books that Postgres does not have yet. */
  readonly books: ToldBook[]
  /** The sums that the first result must reach. */
  announced: Sums | undefined

  constructor(
    private readonly run: WindowRun,
    { carried, books }: WindowRunInput,
  ) {
    this.books = carried?.books ?? books ?? []
    this.told = carried?.told ?? (books ? 'close' : 'wait')
    this.announced = carried?.announced
  }

  publish(announced: Sums | undefined): void {
    if (this.told === 'wait') this.told = 'publish'
    this.announced = announced
  }

  close(books: ToldBook[] = []): void {
    this.told = 'close'
    for (const book of books) if (!this.books.some(known => known.book === book.book)) this.books.push(book)
  }

  get mayPublish(): boolean {
    return this.told !== 'wait' && (!this.announced || this.covers(this.announced))
  }

  get balance(): Balance {
    const { hits, exceptions } = this.run.counts
    const told = { hits: 0, exceptions: 0 }
    for (const book of this.books)
      if ('hits' in book) {
        told.hits += book.hits
        told.exceptions += book.exceptions
      }
    return { told, accounted: { hits, exceptions } }
  }

  /** Whether the window has fewer counts than its books say. */
  get isIncomplete(): boolean {
    return !this.covers(this.balance.told)
  }

  describeMissing(): string {
    const { told, accounted } = this.balance
    return (
      `The ledger announced ${counted(told.hits, 'hit')} and ${counted(told.exceptions, 'late or rejected record')}, and ` +
      `this run has ${grouped(accounted.hits)} and ${grouped(accounted.exceptions)}: an earlier run ended before it had ` +
      'written the rest.'
    )
  }

  private covers({ hits, exceptions }: Sums): boolean {
    const { counts } = this.run
    return counts.hits >= hits && counts.exceptions >= exceptions
  }

  take(): ToldBook[] {
    return this.books.splice(0)
  }

  /** Answers the ledger, which keeps the window as closing until then. */
  async settle(told: ToldBook[], balance: Balance | undefined): Promise<void> {
    if (told.length === 0) return
    const { settings, start } = this.run.key
    const books = told.map(({ book }) => book)
    try {
      const ledger = getExternalWorkflowHandle(ingestId(settings.group))
      await ledger.signal(settled, { start, books, ...(balance && { balance }) })
    } catch (error) {
      log.warn(
        'The ledger did not receive the balance of this window; it will send the close signal again.',
        {
          start,
          error,
        },
      )
    }
  }
}
