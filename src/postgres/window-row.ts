import { sql, type Selectable, type UpdateObject } from 'kysely'
import type { Db, Transaction } from './database'
import type { Database } from './schema'

/** A window's row in `window_results`. */
export type WindowRow = Selectable<Database['window_results']>

export function findWindowRow(db: Db | Transaction, start: number): Promise<WindowRow | undefined> {
  return selectRow(db, start).executeTakeFirst()
}

/** Locks the row until the transaction ends. */
export function lockWindowRow(transaction: Transaction, start: number): Promise<WindowRow | undefined> {
  return selectRow(transaction, start).forUpdate().executeTakeFirst()
}

const selectRow = (db: Db | Transaction, start: number) =>
  db.selectFrom('window_results').selectAll().where('window_start', '=', new Date(start))

/** Creates the row if it is missing, with revision 0, which means that the window has no result yet. */
export async function createWindowRow(
  transaction: Transaction,
  { start, end }: { start: number; end: number },
): Promise<void> {
  await sql`
    insert into window_results (window_start, window_end, status, num_hits, groups, revision, closed_at, partitions)
    values (${new Date(start)}, ${new Date(end)}, 'published', 0, 0, 0, clock_timestamp(), '[]')
    on conflict do nothing`.execute(transaction)
}

export async function updateWindowRow(
  transaction: Transaction,
  start: number,
  values: UpdateObject<Database, 'window_results'>,
): Promise<void> {
  await transaction
    .updateTable('window_results')
    .set(values)
    .where('window_start', '=', new Date(start))
    .execute()
}

export const NOW = sql<Date>`clock_timestamp()`
