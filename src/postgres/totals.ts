import { sql } from 'kysely'
import type { Db } from './database'

/** Records in Postgres, from one snapshot. */
export interface StoredTotals {
  hits: number
  late: number
  rejected: number
  /** The sum of hits, late and rejected. */
  records: number
  windows: number
}

export async function storedTotals(db: Db): Promise<StoredTotals> {
  const { rows } = await sql<Omit<StoredTotals, 'records'>>`
    select (select coalesce(sum(num_hits), 0) from window_results)::bigint as hits,
      ((select coalesce(sum(num_hits), 0) from late_web_traffic)
        + (select coalesce(sum(late_hits), 0) from past_retention))::bigint as late,
      (select coalesce(sum(records), 0) from rejected_counts)::bigint as rejected,
      (select count(*) from window_results) as windows`.execute(db)
  const totals = rows[0]!
  return { ...totals, records: totals.hits + totals.late + totals.rejected }
}
