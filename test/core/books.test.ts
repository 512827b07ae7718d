import { expect, test } from '@jest/globals'
import { Books, type BooksState } from '../../src/core/window/books'
import type { Balance } from '../../src/core/window/protocol'
import { T0 } from './support'

const W0 = T0
const W1 = T0 + 300_000
const NOW = T0 + 3_600_000
const SECOND = 1_000

/** Books with one closing window, W0, which has these sums. */
function closing(hits = 10, exceptions = 2): Books {
  const books = new Books({})
  books.announce(W0, { hits, exceptions }, true)
  books.close(W0, NOW)
  return books
}

const balance = (hits: number, exceptions: number): Balance => ({
  told: { hits: 10, exceptions: 2 },
  accounted: { hits, exceptions },
})

const carriedOver = (books: Books) => new Books(JSON.parse(JSON.stringify(books.snapshot())) as BooksState)

test('the close signal is sent at once, again after 25 seconds, then with doubled waits of up to an hour', () => {
  let books = closing()
  let now = NOW
  const waits: number[] = []
  for (let i = 0; i < 10; i++) {
    const [window, ...others] = books.due(now)
    expect(others).toEqual([])
    books.signalSent(window!, now)
    const { next } = books.windows[0]!
    waits.push((next - now) / SECOND)
    expect(books.due(next - 1)).toEqual([])
    now = next
    books = carriedOver(books)
  }
  expect(waits).toEqual([25, 50, 100, 200, 400, 800, 1_600, 3_200, 3_600, 3_600])
  expect(books.windows).toMatchObject([{ start: W0, since: NOW, told: 10 }])

  books.settle({ start: W0, books: [1], balance: balance(10, 2) })
  expect(books.due(Infinity)).toEqual([])
  expect(books.size).toBe(0)
})

test('the close signal carries the sums of everything announced for the window', () => {
  const books = new Books({})
  books.announce(W0, { hits: 7, exceptions: 0 }, true)
  books.announce(W1, { hits: 100, exceptions: 0 }, true)
  books.announce(W0, { hits: 0, exceptions: 2 }, false)
  books.announce(W0, { hits: 3, exceptions: 1 }, false)
  books.close(W0, NOW)
  expect(books.booksOf(books.windows[0]!.start)).toEqual([{ book: 1, hits: 10, exceptions: 3 }])
  expect(books.sumsOf(W0)).toEqual({ hits: 10, exceptions: 3 })
  expect(books.sumsOf(W1)).toEqual({ hits: 100, exceptions: 0 })
})

test('due returns the oldest windows first, up to the maximum', () => {
  const books = new Books({})
  for (const start of [W0, W1, W1 + 300_000]) {
    books.announce(start, { hits: 1, exceptions: 0 }, true)
    books.close(start, NOW)
  }
  const first = books.due(NOW, 2)
  expect(first.map(({ start }) => start)).toEqual([W0, W1])
  for (const window of first) books.signalSent(window, NOW)
  expect(books.due(NOW, 2).map(({ start }) => start)).toEqual([W1 + 300_000])
})

test.each([
  ['fewer hits', balance(9, 2)],
  ['more hits', balance(11, 2)],
  ['fewer exceptions', balance(10, 1)],
  ['more exceptions', balance(10, 3)],
])('an answer with %s than announced leaves the book open and is kept', (_, wrong) => {
  const books = carriedOver(closing())
  books.settle({ start: W0, books: [1], balance: wrong })
  expect(books.windows).toMatchObject([{ book: 1, balance: wrong }])
  expect(books.has(W0)).toBe(true)
  const later = carriedOver(books)
  expect(later.windows).toMatchObject([{ book: 1, balance: wrong }])
  expect(later.due(NOW + 3_600_000)).toHaveLength(1)
  later.settle({ start: W0, books: [1], balance: balance(10, 2) })
  expect(later.windows).toEqual([])
  expect(later.has(W0)).toBe(false)
})

test('an answer settles the books that it names, and repeating it changes nothing', () => {
  const books = closing()
  books.announce(W0, { hits: 4, exceptions: 0 }, true)
  books.close(W0, NOW)
  expect(books.booksOf(W0)).toEqual([
    { book: 1, hits: 10, exceptions: 2 },
    { book: 2, hits: 4, exceptions: 0 },
  ])
  expect(books.sumsOf(W0)).toEqual({ hits: 14, exceptions: 2 })
  for (let i = 0; i < 2; i++) {
    books.settle({ start: W0, books: [1], balance: balance(10, 2) })
    expect(books.booksOf(W0)).toEqual([{ book: 2, hits: 4, exceptions: 0 }])
  }
  books.settle({ start: W0, books: [2, 99] })
  expect(books.size).toBe(0)
})

test('a window that was opened under an older release has no sums, and settles without a balance', () => {
  const books = new Books({})
  books.announce(W0, { hits: 5, exceptions: 1 }, false)
  expect(books.sumsOf(W0)).toBeUndefined()
  books.close(W0, NOW)
  expect(books.booksOf(W0)).toEqual([{ book: 1 }])
  expect(books.sumsOf(W0)).toBeUndefined()
  books.settle({ start: W0, books: [1] })
  expect(books.size).toBe(0)
})

test('an announcement without sums, from an older release, makes the sums of the window unknown', () => {
  const books = new Books({})
  books.announce(W0, { hits: 5, exceptions: 1 }, true)
  books.forgetSums(W0)
  books.announce(W0, { hits: 5, exceptions: 1 }, false)
  books.close(W0, NOW)
  expect(books.booksOf(W0)).toEqual([{ book: 1 }])
})

test('without carried books, numbers begin at one', () => {
  const books = new Books({})
  expect(books.snapshot()).toEqual({ sums: [], closing: [], nextBook: 1 })
})

test('a book number is never used twice, however often the ledger continues as new', () => {
  let books = new Books({})
  const seen: number[] = []
  for (let i = 0; i < 5; i++) {
    books.announce(W0, { hits: 1, exceptions: 0 }, true)
    books.close(W0, NOW)
    const { book } = books.windows[0]!
    seen.push(book)
    books.settle({ start: W0, books: [book] })
    books = carriedOver(books)
  }
  expect(seen).toEqual([1, 2, 3, 4, 5])
})

test('a close signal sent to a settled window changes nothing', () => {
  const books = closing()
  const [window] = books.due(NOW, 1)
  books.settle({ start: W0, books: [1] })
  books.signalSent(window!, NOW)
  expect(books.snapshot()).toEqual({ sums: [], closing: [], nextBook: 2 })
})
