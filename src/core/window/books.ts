import { invariant } from '../invariant'
import { isBalanced, type Balance, type Settlement, type Sums, type ToldBook } from './protocol'

/** A window that was sent the close signal and has not answered with a balanced book yet. Times are epoch ms. */
export interface ClosingWindow {
  start: number
  book: number
  /** Absent if the ledger does not know them: the window was opened under an older release. */
  sums?: Sums
  /** When the signal is sent first. */
  since: number
  /** How often the signal was sent. */
  told: number
  /** When the signal is sent next. */
  next: number
  /** The window's answer, if it does not balance. */
  balance?: Balance
}

/** The state that runs carry over. Older releases carry none of it. */
export interface BooksState {
  /** What was announced for open windows. */
  sums?: [start: number, hits: number, exceptions: number][]
  closing?: ClosingWindow[]
  nextBook?: number
}

/** The close signal is sent again after this long, then after twice as long each time, up to an hour. Milliseconds. */
const FIRST_RESEND = 25_000
const MAX_RESEND = 3_600_000

/**
 * The ledger's books: what was announced for each window, from its opening until it answers that Postgres has everything.
 * They reveal a run that was terminated, lost or reset, and took counts with it.
 */
export class Books {
  private readonly sums: Map<number, Sums>
  /** By start of the window, since every announcement looks it up; each list in order of the books. */
  private readonly closing = new Map<number, ClosingWindow[]>()
  private nextBook: number

  constructor(carried: BooksState) {
    this.sums = new Map(carried.sums?.map(([start, hits, exceptions]) => [start, { hits, exceptions }]))
    for (const window of carried.closing ?? []) this.add(window)
    this.nextBook = carried.nextBook ?? 1
  }

  private add(window: ClosingWindow): void {
    this.closing.set(window.start, [...this.closingOf(window.start), window])
  }

  private closingOf(start: number): ClosingWindow[] {
    return this.closing.get(start) ?? []
  }

  /** @param isNew whether nothing was announced for the window before; otherwise unknown sums stay unknown */
  announce(start: number, { hits, exceptions }: Sums, isNew: boolean): void {
    invariant(hits >= 0 && exceptions >= 0, 'the sums of a book never decrease')
    const sums = this.sums.get(start)
    if (sums) {
      sums.hits += hits
      sums.exceptions += exceptions
    } else if (isNew) this.sums.set(start, { hits, exceptions })
  }

  /** Makes the sums of a window unknown, because a poller of an older release announced without them. */
  forgetSums(start: number): void {
    this.sums.delete(start)
  }

  /** Completes the book of a window, which is to be closed. */
  close(start: number, now: number): void {
    const sums = this.sums.get(start)
    this.sums.delete(start)
    const book = this.nextBook++
    invariant(
      this.closingOf(start).every(window => window.book < book),
      'a book number is never used twice',
    )
    this.add({ start, book, ...(sums && { sums }), since: now, told: 0, next: now })
  }

  /** Closing windows that are due for the close signal, oldest first. */
  due(now: number, max = Infinity): ClosingWindow[] {
    return this.windows.filter(({ next }) => next <= now).slice(0, max)
  }

  /** The close signal was sent; schedules the next one. */
  signalSent({ start, book }: ClosingWindow, now: number): void {
    const window = this.closingOf(start).find(closing => closing.book === book)
    if (!window) return
    window.next = now + Math.min(FIRST_RESEND * 2 ** window.told, MAX_RESEND)
    window.told++
  }

  /** Takes a window's answer. A balanced one ends its books; any other is kept, so that it can be reported. */
  settle({ start, books, balance }: Settlement): void {
    const isSettled = !balance || isBalanced(balance)
    const left = this.closingOf(start).filter(({ book }) => !isSettled || !books.includes(book))
    if (!isSettled) for (const window of left) if (books.includes(window.book)) window.balance = balance
    if (left.length > 0) this.closing.set(start, left)
    else this.closing.delete(start)
  }

  /** Whether a book of the window is open or closing. */
  has(start: number): boolean {
    return this.sums.has(start) || this.closing.has(start)
  }

  /** The sums of everything announced for a window and not settled; undefined if they are not known. */
  sumsOf(start: number): Sums | undefined {
    const all = this.closingOf(start).map(({ sums }) => sums)
    const open = this.sums.get(start)
    if (open) all.push(open)
    if (all.length === 0) return undefined
    const total = { hits: 0, exceptions: 0 }
    for (const sums of all) {
      if (!sums) return undefined
      total.hits += sums.hits
      total.exceptions += sums.exceptions
    }
    return total
  }

  /** The books that the close signal carries: all that are not settled, since Postgres may have none of them. */
  booksOf(start: number): ToldBook[] {
    return this.closingOf(start).map(({ book, sums }) => (sums ? { book, ...sums } : { book }))
  }

  /** In order of the books. */
  get windows(): ClosingWindow[] {
    return [...this.closing.values()].flat().sort((a, b) => a.book - b.book)
  }

  get size(): number {
    let size = 0
    for (const { length } of this.closing.values()) size += length
    return size
  }

  snapshot(): Required<BooksState> {
    return {
      sums: [...this.sums].map(([start, { hits, exceptions }]) => [start, hits, exceptions]),
      closing: this.windows,
      nextBook: this.nextBook,
    }
  }
}
