import { sql } from 'kysely'
import type { KnownWindow } from '../contract/activities'
import type { Db } from './database'
import { findWindowRow } from './window-row'

/** @returns undefined if the window was neither published nor closed */
export async function findWindow(db: Db, start: number): Promise<Required<KnownWindow> | undefined> {
  const row = await findWindowRow(db, start)
  if (row) return { revision: row.revision, applied: row.partitions, status: row.status }
  return (await hasBook(db, start)) ? { revision: 0, applied: [], status: 'closed' } : undefined
}

/** A window with only late and rejected records closes without a row, but with a book. */
async function hasBook(db: Db, start: number): Promise<boolean> {
  const { rows } = await sql`
    select from window_books where window_start = ${new Date(start)} limit 1`.execute(db)
  return rows.length > 0
}
