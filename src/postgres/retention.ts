import { sql } from 'kysely'
import { periodEnd } from '../core/window/periods'
import type { Db } from './database'
import { lockMonth, partitionedMonths } from './partitions'
import type { Dropped } from '../contract/activities'

/** Late events that are deleted in one transaction. */
const BATCH = 10_000

/**
 * Drops the counts, totals and late events of windows that began before a month. The windows' own rows stay, since they
 * say that a window is closed, and what was applied of each partition: without them an old event would open it anew.
 *
 * @param before the start of a month
 */
export async function dropPastRetention(db: Db, before: number): Promise<Dropped> {
  await markDropped(db, before)
  const months = (await partitionedMonths(db)).filter(month => month < before)
  for (const month of months) await dropMonth(db, month)
  return { months, lateHits: await deleteLate(db, before) }
}

/** First of all, so that nobody takes what is missing from here on for a mistake. */
async function markDropped(db: Db, before: number): Promise<void> {
  await db
    .insertInto('past_retention')
    .values({ dropped_before: new Date(before), late_hits: 0 })
    .onConflict(conflict =>
      conflict.column('singleton').doUpdateSet({
        dropped_before: sql`greatest(past_retention.dropped_before, excluded.dropped_before)`,
      }),
    )
    .execute()
}

async function dropMonth(db: Db, month: number): Promise<void> {
  await db.transaction().execute(async transaction => {
    await lockMonth(transaction, month)
    await sql`select drop_partitions(${new Date(month)})`.execute(transaction)
    await transaction
      .deleteFrom('sealed_periods')
      .where('period_start', '>=', new Date(month))
      .where('period_start', '<', new Date(periodEnd('month', month)))
      .execute()
  })
}

/** How many hits they held is kept, so that records still are hits, late and rejected. */
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
