import { isBalanced, type Balance, type Settlement, type Sums, type ToldBook } from './protocol'

/** A window that was told to close, and has not answered yet with a balance that is right. Times are epoch ms. */
export interface ClosingWindow {
  start: number
  book: number
  /** Absent where the ledger does not know them: the window was opened under an older release. */
  sums?: Sums
  /** When it was told first, how often it was told, and when it is told again. */
  since: number
  told: number
  next: number
  /** The window's answer, where that is not right. */
  balance?: Balance
}

/** What the books carry from run to run; all of it absent in what an older release carries. */
export interface BooksState {
  /** What was announced for windows that are open. */
  sums?: [start: number, hits: number, exceptions: number][]
  closing?: ClosingWindow[]
  nextBook?: number
}

/** A window is told again to close after so long, then after twice as long, up to an hour. ms */
const TOLD_AGAIN = 25_000
const LONGEST_WAIT = 3_600_000

/**
 * The ledger's books: what was announced for each window, from its opening until the window has answered that Postgres
 * has all of it. A run that was terminated, lost or reset takes its counts with it; the books are what notices.
 */
export class Books {
  private readonly sums: Map<number, Sums>
  private readonly closing = new Map<number, ClosingWindow>()
  /** The same by the window's start: asked for with every announcement. */
  private readonly closingOf = new Map<number, ClosingWindow[]>()
  private nextBook: number

  constructor(carried: BooksState) {
    this.sums = new Map(carried.sums?.map(([start, hits, exceptions]) => [start, { hits, exceptions }]))
    for (const window of carried.closing ?? []) this.keep(window)
    this.nextBook = carried.nextBook ?? 1
  }

  /** @param isNew whether nothing was announced for the window before: one that has no sums then gets none */
  add(start: number, { hits, exceptions }: Sums, isNew: boolean): void {
    const sums = this.sums.get(start)
    if (sums) {
      sums.hits += hits
      sums.exceptions += exceptions
    } else if (isNew) this.sums.set(start, { hits, exceptions })
  }

  /** What was announced for a window came without sums: an older release runs a poller. */
  lose(start: number): void {
    this.sums.delete(start)
  }

  /** The window is told to close: its book is full. */
  close(start: number, now: number): void {
    const sums = this.sums.get(start)
    this.sums.delete(start)
    const book = this.nextBook++
    this.keep({ start, book, ...(sums && { sums }), since: now, told: 0, next: now })
  }

  private keep(window: ClosingWindow): void {
    this.closing.set(window.book, window)
    this.closingOf.set(window.start, [...this.allOf(window.start), window])
  }

  private drop({ book, start }: ClosingWindow): void {
    this.closing.delete(book)
    const others = this.allOf(start).filter(window => window.book !== book)
    if (others.length > 0) this.closingOf.set(start, others)
    else this.closingOf.delete(start)
  }

  private allOf(start: number): ClosingWindow[] {
    return this.closingOf.get(start) ?? []
  }

  /** Closing windows that are to be told now, oldest first. */
  due(now: number, atMost: number): ClosingWindow[] {
    return [...this.closing.values()].filter(({ next }) => next <= now).slice(0, atMost)
  }

  /** When the next one is to be told, epoch ms; Infinity where none is. */
  get nextDue(): number {
    let next = Infinity
    for (const window of this.closing.values()) next = Math.min(next, window.next)
    return next
  }

  /** It was told: it is told again, ever more rarely, until it answers. */
  told({ book }: ClosingWindow, now: number): void {
    const window = this.closing.get(book)
    if (!window) return
    window.next = now + Math.min(TOLD_AGAIN * 2 ** window.told, LONGEST_WAIT)
    window.told++
  }

  /** A window's answer. Only a balance that is right ends the book; one that is not is kept, and named. */
  settle({ books, balance }: Settlement): void {
    for (const book of books) {
      const window = this.closing.get(book)
      if (!window) continue
      if (!balance || isBalanced(balance)) this.drop(window)
      else window.balance = balance
    }
  }

  /** Whether the books of a window are still open. */
  has(start: number): boolean {
    return this.sums.has(start) || this.closingOf.has(start)
  }

  /** All that was announced for a window and is not settled; undefined where the ledger does not know it. */
  of(start: number): Sums | undefined {
    const closing = this.allOf(start)
    if (closing.some(({ sums }) => !sums)) return undefined
    const all = [this.sums.get(start), ...closing.map(({ sums }) => sums)].filter(sums => sums !== undefined)
    if (all.length === 0) return undefined
    return {
      hits: all.reduce((sum, { hits }) => sum + hits, 0),
      exceptions: all.reduce((sum, { exceptions }) => sum + exceptions, 0),
    }
  }

  booksOf(start: number): ToldBook[] {
    return this.allOf(start).map(toldOf)
  }

  get windows(): ClosingWindow[] {
    return [...this.closing.values()]
  }

  get size(): number {
    return this.closing.size
  }

  snapshot(): Required<BooksState> {
    return {
      sums: [...this.sums].map(([start, { hits, exceptions }]) => [start, hits, exceptions]),
      closing: this.windows,
      nextBook: this.nextBook,
    }
  }
}

/** A book as the window hears of it. */
function toldOf({ book, sums }: ClosingWindow): ToldBook {
  return sums ? { book, ...sums } : { book }
}
