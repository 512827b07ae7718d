import { sql } from 'kysely'
import type { Balance, Sums, ToldBook } from '../core/window/protocol'
import type { Db, Transaction } from './database'

/** Enters what the ledger told a window; each book once. */
export async function enterBooks(transaction: Transaction, start: number, books: ToldBook[]): Promise<void> {
  for (const book of books) {
    if (!('hits' in book)) continue
    const { book: number, hits, exceptions } = book
    await transaction
      .insertInto('window_books')
      .values({ window_start: new Date(start), book: number, num_hits: hits, exceptions })
      .onConflict(conflict => conflict.doNothing())
      .execute()
  }
}

/**
 * Enters the difference between what a window was told and what is left of it, where a person has accepted the loss: from
 * then on it balances. Such entries have negative numbers.
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

/** What {@link correctBooks} has given up of a window. */
export async function acceptedLoss(db: Db | Transaction, start: number): Promise<Sums> {
  const { rows } = await sql<Sums>`
    select coalesce(-sum(num_hits), 0)::bigint as hits, coalesce(-sum(exceptions), 0)::bigint as exceptions
    from window_books where window_start = ${new Date(start)} and book < 0`.execute(db)
  return rows[0]!
}

/** What a window was told, without these books. */
export async function toldBesides(db: Db, start: number, books: number[]): Promise<Sums> {
  const { rows } = await sql<Sums>`
    select coalesce(sum(num_hits), 0)::bigint as hits, coalesce(sum(exceptions), 0)::bigint as exceptions
    from window_books where window_start = ${new Date(start)} and book <> all(${books}::bigint[])`.execute(db)
  return rows[0]!
}

/**
 * What the ledger told a window, and what Postgres has of it: its hits, with those that came after it had closed and
 * without those that a replay brought in from late events. Undefined where nothing is in its books, since it was opened
 * under an older release.
 */
export async function balanceOf(db: Db | Transaction, start: number): Promise<Balance | undefined> {
  const at = new Date(start)
  const { rows } = await sql<{
    books: number
    told_hits: number
    told_exceptions: number
    hits: number
    exceptions: number
  }>`
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
