import { sql } from 'kysely'
import type { Balance, Sums, ToldBook } from '../core/window/protocol'
import type { Db, Transaction } from './database'

/** Enters the books that the ledger sent a window with its close signal, each once; returns the window's balance. */
export async function settleBooks(
  transaction: Transaction,
  start: number,
  books: ToldBook[] | undefined,
): Promise<{ balance?: Balance }> {
  if (!books) return {}
  await enterBooks(transaction, start, books)
  const balance = await balanceOf(transaction, start)
  return balance ? { balance } : {}
}

/** Enters each book once. A book without sums, of a window opened under an older release, is not entered. */
export async function enterBooks(transaction: Transaction, start: number, books: ToldBook[]): Promise<void> {
  for (const book of books) {
    if (!('hits' in book)) continue
    await sql`
      insert into window_books (window_start, book, num_hits, exceptions)
      values (${new Date(start)}, ${book.book}, ${book.hits}, ${book.exceptions})
      on conflict do nothing`.execute(transaction)
  }
}

/**
 * Makes a window balance after a person has accepted its loss: enters the difference between what was announced and what
 * Postgres has as one more book, with a negative number.
 */
export async function correctBooks(
  transaction: Transaction,
  start: number,
  { told, accounted }: Balance,
): Promise<void> {
  await sql`
    insert into window_books (window_start, book, num_hits, exceptions)
    select ${new Date(start)}, least(coalesce(min(book), 0), 0) - 1, ${accounted.hits - told.hits}::bigint,
      ${accounted.exceptions - told.exceptions}::bigint
    from window_books where window_start = ${new Date(start)}`.execute(transaction)
}

/** The loss that {@link correctBooks} has entered for a window. */
export async function acceptedLoss(db: Db | Transaction, start: number): Promise<Sums> {
  const { rows } = await sql<Sums>`
    select coalesce(-sum(num_hits), 0)::bigint as hits, coalesce(-sum(exceptions), 0)::bigint as exceptions
    from window_books where window_start = ${new Date(start)} and book < 0`.execute(db)
  return rows[0]!
}

/** The sums of a window's books, except for these books. */
export async function toldBesides(db: Db, start: number, books: number[]): Promise<Sums> {
  const { rows } = await sql<Sums>`
    select coalesce(sum(num_hits), 0)::bigint as hits, coalesce(sum(exceptions), 0)::bigint as exceptions
    from window_books where window_start = ${new Date(start)} and book <> all(${books}::bigint[])`.execute(db)
  return rows[0]!
}

/**
 * What was announced for a window, and what Postgres has of it. Its hits include those that arrived after it had closed,
 * and exclude those that a replay brought in from late events.
 *
 * @returns undefined if the window has no books: it was opened under an older release
 */
export async function balanceOf(db: Db | Transaction, start: number): Promise<Balance | undefined> {
  const at = new Date(start)
  const { rows } = await sql<
    Record<'books' | 'told_hits' | 'told_exceptions' | 'hits' | 'exceptions', number>
  >`
    select b.*,
      coalesce((select num_hits from window_results where window_start = ${at}), 0)
        + coalesce((select sum(case when cause = 'closed' and brought_in is null then num_hits
            when cause = 'watermark' and brought_in is not null then -num_hits else 0 end)
          from late_deltas where window_start = ${at}), 0)::bigint as hits,
      coalesce((select sum(records) from exception_ranges where window_start = ${at}), 0)::bigint as exceptions
    from (select count(*) as books, coalesce(sum(num_hits), 0)::bigint as told_hits,
        coalesce(sum(exceptions), 0)::bigint as told_exceptions
      from window_books where window_start = ${at}) b`.execute(db)
  const { books, told_hits, told_exceptions, hits, exceptions } = rows[0]!
  if (books === 0) return undefined
  return { told: { hits: told_hits, exceptions: told_exceptions }, accounted: { hits, exceptions } }
}
