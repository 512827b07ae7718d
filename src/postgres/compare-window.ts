import { sql } from 'kysely'
import { GroupCounter, type GroupCount } from '../core/counts/columnar'
import { firstGroups } from '../core/counts/group-limit'
import type { Transaction } from './database'
import { type Difference, EVERY } from '../contract/activities'
import { inBatches } from './cursor'
import type { WindowRow } from './window-row'

type Table = Difference['table']

/** Groups of a table that were not counted; further ones count as one difference. */
const MAX_UNKNOWN = 100_000

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
  transaction: Transaction,
  start: number,
  counter: GroupCounter,
): Promise<Difference[]> {
  const compare = counter.folded ? totalDifference : differences
  return [
    ...(await compare(transaction, start, 'aggregated_web_traffic', counter)),
    ...(await compare(transaction, start, 'aggregated_web_traffic_by_country', counter)),
  ]
}

async function totalDifference(
  transaction: Transaction,
  start: number,
  table: Table,
  { hits: counted }: GroupCounter,
): Promise<Difference[]> {
  const { rows } = await sql<{ stored: number }>`
    select coalesce(sum(num_hits), 0)::bigint as stored from ${sql.table(table)}
    where window_start = ${new Date(start)}`.execute(transaction)
  const { stored } = rows[0]!
  return stored === counted ? [] : [{ table, host: EVERY, referrer: '', stored, counted }]
}

/** Fetches the rows in batches and finds each in the count, so neither side is copied. */
async function differences(
  transaction: Transaction,
  start: number,
  table: Table,
  counter: GroupCounter,
): Promise<Difference[]> {
  const hasCountries = table === 'aggregated_web_traffic_by_country'
  const counted = hasCountries ? counter : counter.withoutCountries()
  const stored = new Float64Array(counted.groups).fill(NaN)
  const unknown = new GroupCounter(firstGroups(MAX_UNKNOWN))
  const rowsOf = sql<GroupCount>`
    select host, referrer, ${hasCountries ? sql.ref('country') : sql.lit('')} as country, num_hits as hits
    from ${sql.table(table)} where window_start = ${new Date(start)}`
  for await (const rows of inBatches(transaction, rowsOf))
    for (const { host, referrer, country, hits } of rows) {
      const row = counted.rowOf(host, referrer, country)
      if (row < 0) unknown.add(host, referrer, country, hits)
      // Adds, since a duplicate row counts twice for the readers of the table.
      else stored[row] = (stored[row]! || 0) + hits
    }
  const differenceOf = (
    { host, referrer, country }: GroupCount,
    stored: number | null,
    counted: number | null,
  ) => ({
    ...{ table, host, referrer, stored, counted },
    ...(country && { country }),
  })
  const found: Difference[] = []
  for (const group of unknown.all()) found.push(differenceOf(group, group.hits, null))
  for (let row = 0; row < counted.groups; row++) {
    const group = counted.group(row)
    if (stored[row] === group.hits) continue
    found.push(differenceOf(group, Number.isNaN(stored[row]) ? null : stored[row]!, group.hits))
  }
  return found
}
