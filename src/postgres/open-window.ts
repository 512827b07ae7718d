import type { AppliedPartition } from '../core/window/protocol'
import type { Db } from './database'

/** What Postgres knows of a window: undefined where it was neither published nor closed. */
export interface KnownWindow {
  revision: number
  applied: AppliedPartition[]
  status: 'published' | 'closed'
}

export async function findWindow(db: Db, start: number): Promise<KnownWindow | undefined> {
  const row = await db
    .selectFrom('window_results')
    .select(['revision', 'partitions', 'status'])
    .where('window_start', '=', new Date(start))
    .executeTakeFirst()
  if (row) return { revision: row.revision, applied: row.partitions, status: row.status }
  // One that had nothing but late and rejected records has closed without a result: a repeat must not open it again.
  const book = await db
    .selectFrom('window_books')
    .select('book')
    .where('window_start', '=', new Date(start))
    .limit(1)
    .executeTakeFirst()
  return book && { revision: 0, applied: [], status: 'closed' }
}
