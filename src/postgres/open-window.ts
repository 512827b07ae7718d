import type { AppliedPartition } from '../core/messages'
import type { Db } from './database'

/** What Postgres knows of a window: undefined where it was never published. */
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
  return row && { revision: row.revision, applied: row.partitions, status: row.status }
}
