import { sql } from 'kysely'
import { monthOf, periodEnd, PERIODS, type PeriodName } from '../core/window/periods'
import type { Db, Transaction } from './database'
import { lockMonth } from './partitions'
import { hitsBy, partsOf } from './rollups'

/** A result this recent is likely to be followed by others of its period: from a backlog, or corrections. */
const QUIET_FOR = '2 minutes'

/** Starts of finished periods that have results and are not rolled up, oldest first. */
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
 * Rolls up a period's counts by host, referrer and country, from sealed shorter periods if there are any. Sealing takes
 * an exclusive lock on the month; a later write to the period removes the seal.
 */
export async function sealPeriod(db: Db, period: PeriodName, start: number): Promise<void> {
  await db.transaction().execute(async transaction => {
    await lockMonth(transaction, monthOf(start))
    await deleteRollups(transaction, period, start)
    await insertRollupsPerHost(transaction, period, start)
    await insertRollupsOfAllHosts(transaction, period, start)
    await sql`
      insert into sealed_periods (period, period_start) values (${period}, ${new Date(start)})`.execute(
      transaction,
    )
  })
}

/** Deletes what an earlier seal, or a concurrent one, has left. */
async function deleteRollups(transaction: Transaction, period: PeriodName, start: number): Promise<void> {
  const at = new Date(start)
  await sql`delete from sealed_periods where period = ${period} and period_start = ${at}`.execute(transaction)
  // Two statements, each of which can use an index.
  for (const operator of [sql`=`, sql`<>`])
    await sql`
      delete from traffic_rollups
      where period = ${period} and dimension in ('host', 'referrer', 'country') and host ${operator} ''
        and period_start = ${at}`.execute(transaction)
}

async function insertRollupsPerHost(
  transaction: Transaction,
  period: PeriodName,
  start: number,
): Promise<void> {
  const shorter = PERIODS.slice(PERIODS.indexOf(period) + 1)
  const parts = await partsOf(transaction, { from: start, to: periodEnd(period, start) }, shorter)
  for (const dimension of ['referrer', 'country'] as const)
    await sql`
      insert into traffic_rollups (period, period_start, dimension, host, name, num_hits)
      select ${period}::text, ${new Date(start)}::timestamptz, ${dimension}::text, host, name, sum(num_hits)
      from (${hitsBy(dimension, 'each', parts)}) hits group by host, name`.execute(transaction)
}

async function insertRollupsOfAllHosts(
  transaction: Transaction,
  period: PeriodName,
  start: number,
): Promise<void> {
  const at = new Date(start)
  await sql`
    insert into traffic_rollups (period, period_start, dimension, host, name, num_hits)
    with by_host as (
      select dimension, host, name, num_hits from traffic_rollups
      where period = ${period} and dimension in ('referrer', 'country') and host <> '' and period_start = ${at})
    select ${period}::text, ${at}::timestamptz, dimension, '', name, sum(num_hits) from by_host group by dimension, name
    union all
    select ${period}::text, ${at}::timestamptz, 'host', '', host, sum(num_hits) from by_host
    where dimension = 'referrer' group by host`.execute(transaction)
}
