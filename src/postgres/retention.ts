import { sql } from 'kysely'
import { periodEnd } from '../core/window/periods'
import type { Db } from './database'
import { lockMonth, partitionedMonths } from './partitions'
import type { Dropped } from '../contract/activities'

/** Late events deleted in one transaction. */
const BATCH = 10_000

/**
 * Drops the counts, rollups and late events of windows that began before a month. The rows of the windows stay: they
 * record that a window is closed and what it applied, without which an old event would open it again.
 *
 * @param before the start of a month
 */
export async function dropPastRetention(db: Db, before: number): Promise<Dropped> {
  // First, so that nothing takes the missing counts for an error.
  await markDropped(db, before)
  const months = (await partitionedMonths(db)).filter(month => month < before)
  for (const month of months) await dropMonth(db, month)
  return { months, lateHits: await deleteLate(db, before) }
}

async function markDropped(db: Db, before: number): Promise<void> {
  await sql`
    insert into past_retention (dropped_before, late_hits) values (${new Date(before)}, 0)
    on conflict (singleton) do update
      set dropped_before = greatest(past_retention.dropped_before, excluded.dropped_before)`.execute(db)
}

async function dropMonth(db: Db, month: number): Promise<void> {
  await db.transaction().execute(async transaction => {
    await lockMonth(transaction, month)
    await sql`select drop_partitions(${new Date(month)})`.execute(transaction)
    await sql`
      delete from sealed_periods
      where period_start >= ${new Date(month)} and period_start < ${new Date(periodEnd('month', month))}`.execute(
      transaction,
    )
  })
}

/** Keeps the number of deleted hits, so that the totals still account for every record. */
async function deleteLate(db: Db, before: number): Promise<number> {
  for (let lateHits = 0; ;) {
    const { rows } = await sql<{ deleted: number; hits: number }>`
      with gone as (
        delete from late_deltas where ctid = any (array(
          select ctid from late_deltas where window_start < ${new Date(before)} limit ${BATCH}))
        returning num_hits, brought_in),
      counted as (
        select count(*) as deleted, coalesce(sum(num_hits) filter (where brought_in is null), 0)::bigint as hits
        from gone)
      update past_retention set late_hits = late_hits + hits from counted returning deleted, hits`.execute(db)
    const { deleted, hits } = rows[0]!
    lateHits += hits
    if (deleted < BATCH) return lateHits
  }
}
