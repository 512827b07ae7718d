import { sql } from 'kysely'
import { monthOf, periodEnd, PERIODS, type PeriodName } from '../core/window/periods'
import type { Db, Transaction } from './database'
import { lockMonth } from './partitions'
import { hitsBy, piecesOf } from './rollups'

/** What was published just now is likely to be followed by more: on a backlog, or by corrections. */
const QUIET_FOR = '2 minutes'

/** Periods that are over and have results, and are not sealed; oldest first. */
export async function unsealedPeriods(db: Db, period: PeriodName): Promise<number[]> {
  const { rows } = await sql<{ start: Date }>`
    select start from (
      select distinct date_trunc(${period}, window_start, 'UTC') as start from window_results
      where window_start < date_trunc(${period}, now(), 'UTC')
        and window_start >= coalesce((select dropped_before from past_retention), '-infinity')
    ) periods
    where not exists (select from sealed_periods where period = ${period} and period_start = start)
      and not exists (
        select from window_results
        where window_start >= start and window_start < start + ${`1 ${period}`}::interval
          and closed_at > now() - ${QUIET_FOR}::interval)
    order by start`.execute(db)
  return rows.map(({ start }) => start.getTime())
}

/**
 * Adds up the counts of a period by host, referrer and country, from shorter periods where those are sealed. Nobody
 * writes to its month meanwhile; whoever does so later takes the seal away with what it writes.
 */
export async function sealPeriod(db: Db, period: PeriodName, start: number): Promise<void> {
  await db.transaction().execute(async transaction => {
    await lockMonth(transaction, monthOf(start))
    await forget(transaction, period, start)
    const shorter = PERIODS.slice(PERIODS.indexOf(period) + 1)
    const pieces = await piecesOf(transaction, { from: start, to: periodEnd(period, start) }, shorter)
    const at = new Date(start)
    for (const dimension of ['referrer', 'country'] as const)
      await sql`
        insert into traffic_rollups (period, period_start, dimension, host, name, num_hits)
        select ${period}::text, ${at}::timestamptz, ${dimension}::text, host, name, sum(num_hits)
        from (${hitsBy(dimension, 'each', pieces)}) hits group by host, name`.execute(transaction)
    await sql`
      insert into traffic_rollups (period, period_start, dimension, host, name, num_hits)
      with by_host as (
        select dimension, host, name, num_hits from traffic_rollups
        where period = ${period} and dimension in ('referrer', 'country') and host <> '' and period_start = ${at})
      select ${period}::text, ${at}::timestamptz, dimension, '', name, sum(num_hits) from by_host group by dimension, name
      union all
      select ${period}::text, ${at}::timestamptz, 'host', '', host, sum(num_hits) from by_host
      where dimension = 'referrer' group by host`.execute(transaction)
    await transaction.insertInto('sealed_periods').values({ period, period_start: at }).execute()
  })
}

/** What is left from before the seal was taken away, or put there by whoever sealed it at the same time. */
async function forget(transaction: Transaction, period: PeriodName, start: number): Promise<void> {
  const at = new Date(start)
  await transaction
    .deleteFrom('sealed_periods')
    .where('period', '=', period)
    .where('period_start', '=', at)
    .execute()
  for (const hosts of ['=', '<>'] as const)
    await transaction
      .deleteFrom('traffic_rollups')
      .where('period', '=', period)
      .where('dimension', 'in', ['host', 'referrer', 'country'])
      .where('host', hosts, '')
      .where('period_start', '=', at)
      .execute()
}
