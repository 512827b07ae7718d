import {
  groups,
  hitsOf,
  withoutCountries,
  type ColumnarCounts,
  type GroupCounter,
} from '../core/counts/columnar'
import type { Db, Transaction } from './database'
import { type Difference, EVERY } from '../contract/activities'

/**
 * Compares a window's rows, in both tables, with a count. Beyond `MAX_GROUPS` which groups keep their name depends on
 * the order in which partitions were read, so that of such a window only the hits of all groups are compared.
 */
export async function compareWindow(
  db: Db | Transaction,
  start: number,
  counter: GroupCounter,
): Promise<Difference[]> {
  const counts = counter.columns()
  const byCountry = await db
    .selectFrom('aggregated_web_traffic_by_country')
    .select(['host', 'referrer', 'country', 'num_hits'])
    .where('window_start', '=', new Date(start))
    .execute()
  const anyCountry = await db
    .selectFrom('aggregated_web_traffic')
    .select(['host', 'referrer', 'num_hits'])
    .where('window_start', '=', new Date(start))
    .execute()
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
  const at = (host: string, referrer: string, country: string | undefined) => {
    const key = JSON.stringify([host, referrer, country])
    let difference = found.get(key)
    if (!difference) {
      difference = { table, host, referrer, stored: null, counted: null, ...(country && { country }) }
      found.set(key, difference)
    }
    return difference
  }
  for (const { host, referrer, country, num_hits } of rows) {
    const difference = at(host, referrer, country)
    // A row that is there twice counts twice: that is what its readers see.
    difference.stored = (difference.stored ?? 0) + num_hits
  }
  for (const { host, referrer, country, hits } of groups(counts)) {
    const difference = at(host, referrer, country || undefined)
    difference.counted = (difference.counted ?? 0) + hits
  }
  return [...found.values()].filter(({ stored, counted }) => stored !== counted)
}
