import { sql } from 'kysely'
import { groups, withoutCountries, type ColumnarCounts, type GroupCounter } from '../core/counts/columnar'
import type { Transaction } from './database'
import { NOW, updateWindowRow } from './window-row'

interface Window {
  start: number
  end: number
}

/** Publishes a closed window that was counted again from the log, with the given revision. */
export async function replaceRecounted(
  transaction: Transaction,
  window: Window,
  counter: GroupCounter,
  revision: number,
): Promise<void> {
  await replaceCounts(transaction, window, counter.columns())
  const { hits, groups } = counter
  const row = { status: 'closed', num_hits: hits, groups, revision, unlocated: 0, closed_at: NOW } as const
  await updateWindowRow(transaction, window.start, row)
}

/** Replaces the window's counts in both tables. The window's row must be locked. */
export async function replaceCounts(
  transaction: Transaction,
  { start, end }: Window,
  counts: ColumnarCounts,
): Promise<void> {
  for (const table of ['aggregated_web_traffic', 'aggregated_web_traffic_by_country'] as const)
    await sql`delete from ${sql.table(table)} where window_start = ${new Date(start)}`.execute(transaction)
  const [from, to] = [new Date(start), new Date(end)]
  const columns = toColumns(counts)
  await sql`
    insert into aggregated_web_traffic_by_country (window_start, window_end, host, referrer, country, num_hits)
    select ${from}, ${to}, host, referrer, country, num_hits
    from unnest(${columns.hosts}::text[], ${columns.referrers}::text[], ${columns.countries}::text[],
      ${columns.hits}::bigint[]) as delta (host, referrer, country, num_hits)`.execute(transaction)
  const anyCountry = toColumns(withoutCountries(counts))
  await sql`
    insert into aggregated_web_traffic (window_start, window_end, host, referrer, num_hits)
    select ${from}, ${to}, host, referrer, num_hits
    from unnest(${anyCountry.hosts}::text[], ${anyCountry.referrers}::text[], ${anyCountry.hits}::bigint[])
      as delta (host, referrer, num_hits)`.execute(transaction)
}

/** One array per column, for `unnest`: a statement with one parameter per value would exceed the protocol's limit. */
export function toColumns(counts: ColumnarCounts) {
  const hosts: string[] = []
  const referrers: string[] = []
  const countries: string[] = []
  const hits: number[] = []
  for (const group of groups(counts)) {
    hosts.push(group.host)
    referrers.push(group.referrer)
    countries.push(group.country)
    hits.push(group.hits)
  }
  return { hosts, referrers, countries, hits }
}
