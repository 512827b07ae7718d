import { sql, type RawBuilder, type SqlBool } from 'kysely'
import { cover, PERIODS, type PeriodName, type Interval } from '../core/window/periods'
import type { Db, Transaction } from './database'
import type { Dimension } from './schema'

/** A stretch of time whose hits are read window by window, or as the totals of whole periods. */
export interface RangePart extends Interval {
  period: 'window' | PeriodName
}

/** Each is a part of the query; beyond so many, periods are left out that would make more. */
const MOST_PIECES = 100

/**
 * A stretch in pieces, of the longest periods that are sealed; of one state of the database if it is asked in one. A
 * period that is not sealed is read window by window.
 *
 * @param periods longest first
 */
export async function piecesOf(
  db: Db | Transaction,
  stretch: Interval,
  periods: readonly PeriodName[] = PERIODS,
): Promise<RangePart[]> {
  const pieces: RangePart[] = []
  let left = [stretch]
  for (const period of periods) {
    if (left.length === 0) break
    const found = cover(left, period, await sealedIn(db, period, left))
    if (pieces.length + found.covered.length + found.left.length > MOST_PIECES) continue
    pieces.push(...found.covered.map(covered => ({ period, ...covered })))
    left = found.left
  }
  return [...pieces, ...left.map(rest => ({ period: 'window' as const, ...rest }))]
}

async function sealedIn(db: Db | Transaction, period: PeriodName, stretches: Interval[]): Promise<number[]> {
  const ends = (end: 'from' | 'to') => stretches.map(stretch => new Date(stretch[end]))
  const { rows } = await sql<{ start: Date }>`
    select period_start as start
    from unnest(${ends('from')}::timestamptz[], ${ends('to')}::timestamptz[]) as stretch ("from", "to")
      join sealed_periods on period = ${period} and period_start >= stretch."from" and period_start < stretch."to"
    order by 1`.execute(db)
  return rows.map(({ start }) => start.getTime())
}

/** Of one host, of all together, or of each. */
export type Hosts = { host: string } | 'all' | 'each'

/** What hits are counted by, in a query: rows of `at` (the window's or period's start), `host`, `name`, `num_hits`. */
export function hitsBy(dimension: Dimension, hosts: Hosts, pieces: RangePart[]): RawBuilder<unknown> {
  return sql.join(
    pieces.map(piece => hitsOfPiece(dimension, hosts, piece)),
    sql` union all `,
  )
}

function hitsOfPiece(dimension: Dimension, hosts: Hosts, piece: RangePart): RawBuilder<unknown> {
  const { period } = piece
  const kept = period !== 'window' || (hosts === 'all' && dimension !== 'referrer')
  if (kept) {
    const of = hosts === 'each' ? sql`host <> ''` : sql`host = ${hosts === 'all' ? '' : hosts.host}`
    return sql`
      select period_start as at, host, name, num_hits from traffic_rollups
      where period = ${period} and dimension = ${dimension} and ${of} and ${within('period_start', piece)}`
  }
  const table = dimension === 'country' ? 'aggregated_web_traffic_by_country' : 'aggregated_web_traffic'
  const of = typeof hosts === 'string' ? sql`true` : sql`host = ${hosts.host}`
  return sql`
    select window_start as at, host, ${sql.ref(dimension)} as name, num_hits from ${sql.table(table)}
    where ${of} and ${within('window_start', piece)}`
}

export const within = (column: 'window_start' | 'period_start', { from, to }: Interval) =>
  sql<SqlBool>`${sql.ref(column)} >= ${new Date(from)} and ${sql.ref(column)} < ${new Date(to)}`
