import { sql, type RawBuilder, type SqlBool } from 'kysely'
import { cover, PERIODS, type PeriodName, type Interval } from '../core/window/periods'
import type { Db, Transaction } from './database'
import type { Dimension } from './schema'

/** A part of a time range whose hits are read window by window, or from the rollups of one period length. */
export interface RangePart extends Interval {
  period: 'window' | PeriodName
}

/** Each part is a subquery. A period length that would lead to more is not used. */
const MAX_PARTS = 100

/**
 * Splits a range into parts of the longest sealed periods. What no sealed period covers is read window by window. Use
 * the parts in the same transaction: a later write may remove a seal.
 *
 * @param periods longest first
 */
export async function partsOf(
  db: Db | Transaction,
  range: Interval,
  periods: readonly PeriodName[] = PERIODS,
): Promise<RangePart[]> {
  const parts: RangePart[] = []
  let left = [range]
  for (const period of periods) {
    if (left.length === 0) break
    const found = cover(left, period, await sealedIn(db, period, left))
    if (parts.length + found.covered.length + found.left.length > MAX_PARTS) continue
    parts.push(...found.covered.map(covered => ({ period, ...covered })))
    left = found.left
  }
  return [...parts, ...left.map(rest => ({ period: 'window' as const, ...rest }))]
}

async function sealedIn(db: Db | Transaction, period: PeriodName, ranges: Interval[]): Promise<number[]> {
  const ends = (end: 'from' | 'to') => ranges.map(range => new Date(range[end]))
  const { rows } = await sql<{ start: Date }>`
    select period_start as start
    from unnest(${ends('from')}::timestamptz[], ${ends('to')}::timestamptz[]) as stretch ("from", "to")
      join sealed_periods on period = ${period} and period_start >= stretch."from" and period_start < stretch."to"
    order by 1`.execute(db)
  return rows.map(({ start }) => start.getTime())
}

/** One host, all hosts together, or each host by itself. */
export type Hosts = { host: string } | 'all' | 'each'

/** A subquery for hits: rows of `at` (start of the window or period), `host`, `name` and `num_hits`. */
export function hitsBy(dimension: Dimension, hosts: Hosts, parts: RangePart[]): RawBuilder<unknown> {
  return sql.join(
    parts.map(part => hitsOfPart(dimension, hosts, part)),
    sql` union all `,
  )
}

function hitsOfPart(dimension: Dimension, hosts: Hosts, part: RangePart): RawBuilder<unknown> {
  const { period } = part
  if (period !== 'window' || (hosts === 'all' && dimension !== 'referrer')) {
    const ofHosts = hosts === 'each' ? sql`host <> ''` : sql`host = ${hosts === 'all' ? '' : hosts.host}`
    return sql`
      select period_start as at, host, name, num_hits from traffic_rollups
      where period = ${period} and dimension = ${dimension} and ${ofHosts} and ${within('period_start', part)}`
  }
  const table = dimension === 'country' ? 'aggregated_web_traffic_by_country' : 'aggregated_web_traffic'
  const ofHosts = typeof hosts === 'string' ? sql`true` : sql`host = ${hosts.host}`
  return sql`
    select window_start as at, host, ${sql.ref(dimension)} as name, num_hits from ${sql.table(table)}
    where ${ofHosts} and ${within('window_start', part)}`
}

export const within = (column: 'window_start' | 'period_start', { from, to }: Interval) =>
  sql<SqlBool>`${sql.ref(column)} >= ${new Date(from)} and ${sql.ref(column)} < ${new Date(to)}`
