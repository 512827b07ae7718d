import { sql } from 'kysely'
import {
  groups,
  hitsOf,
  withoutCountries,
  type ColumnarCounts,
  type GroupCounter,
} from '../core/counts/columnar'
import type { Db, Transaction } from './database'
import { type Difference, EVERY } from '../contract/activities'
import type { WindowRow } from './window-row'

/** Whether the window's row and its counts are what was counted again. */
export async function isRight(
  transaction: Transaction,
  row: Pick<WindowRow, 'window_start' | 'num_hits'>,
  counter: GroupCounter,
): Promise<boolean> {
  if (row.num_hits !== counter.hits) return false
  return (await compareWindow(transaction, row.window_start.getTime(), counter)).length === 0
}

/**
 * Compares a window's rows in both tables with a count. Which groups keep their name beyond `MAX_GROUPS` depends on the
 * order in which partitions were read, so for such a window only the total hits are compared.
 */
export async function compareWindow(
  db: Db | Transaction,
  start: number,
  counter: GroupCounter,
): Promise<Difference[]> {
  const counts = counter.columns()
  const { rows: byCountry } = await sql<Row>`
    select host, referrer, country, num_hits from aggregated_web_traffic_by_country
    where window_start = ${new Date(start)}`.execute(db)
  const { rows: anyCountry } = await sql<Row>`
    select host, referrer, num_hits from aggregated_web_traffic
    where window_start = ${new Date(start)}`.execute(db)
  const compare = counter.folded ? totalDifference : differences
  return [
    ...compare('aggregated_web_traffic', anyCountry, withoutCountries(counts)),
    ...compare('aggregated_web_traffic_by_country', byCountry, counts),
  ]
}

function totalDifference(table: Difference['table'], rows: Row[], counts: ColumnarCounts): Difference[] {
  const stored = rows.reduce((sum, { num_hits }) => sum + num_hits, 0)
  const counted = hitsOf(counts)
  return stored === counted ? [] : [{ table, host: EVERY, referrer: '', stored, counted }]
}

interface Row {
  host: string
  referrer: string
  country?: string
  num_hits: number
}

function differences(table: Difference['table'], rows: Row[], counts: ColumnarCounts): Difference[] {
  const found = new Map<string, Difference>()
  // Adds, since a duplicate row counts twice for the readers of the table.
  const add = (
    side: 'stored' | 'counted',
    hits: number,
    host: string,
    referrer: string,
    country?: string,
  ) => {
    const key = JSON.stringify([host, referrer, country])
    const none = { table, host, referrer, stored: null, counted: null, ...(country && { country }) }
    const difference: Difference = found.get(key) ?? none
    difference[side] = (difference[side] ?? 0) + hits
    found.set(key, difference)
  }
  for (const { host, referrer, country, num_hits } of rows) add('stored', num_hits, host, referrer, country)
  for (const { host, referrer, country, hits } of groups(counts))
    add('counted', hits, host, referrer, country || undefined)
  return [...found.values()].filter(({ stored, counted }) => stored !== counted)
}
