import { sql } from 'kysely'
import type { GroupCount, GroupCounter } from '../core/counts/columnar'
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
  await replaceCounts(transaction, window, counter)
  const { hits, groups } = counter
  const row = { status: 'closed', num_hits: hits, groups, revision, unlocated: 0, closed_at: NOW } as const
  await updateWindowRow(transaction, window.start, row)
}

/** Replaces the window's counts in both tables. The window's row must be locked. */
export async function replaceCounts(
  transaction: Transaction,
  { start, end }: Window,
  counter: GroupCounter,
): Promise<void> {
  for (const table of ['aggregated_web_traffic', 'aggregated_web_traffic_by_country'] as const)
    await sql`delete from ${sql.table(table)} where window_start = ${new Date(start)}`.execute(transaction)
  const [from, to] = [new Date(start), new Date(end)]
  for (const { hosts, referrers, countries, hits } of chunksOf(counter.all()))
    await sql`
      insert into aggregated_web_traffic_by_country (window_start, window_end, host, referrer, country, num_hits)
      select ${from}, ${to}, host, referrer, country, num_hits
      from unnest(${hosts}::text[], ${referrers}::text[], ${countries}::text[], ${hits}::bigint[])
        as chunk (host, referrer, country, num_hits)`.execute(transaction)
  await sql`
    insert into aggregated_web_traffic (window_start, window_end, host, referrer, num_hits)
    select ${from}, ${to}, host, referrer, sum(num_hits)
    from aggregated_web_traffic_by_country where window_start = ${from}
    group by host, referrer`.execute(transaction)
}

/** Groups that one statement inserts. Its parameters are built without a break, and all of them are in memory. */
const MAX_CHUNK = { groups: 10_000, characters: 1_000_000 }

/** One array per column, for `unnest`: a statement with one parameter per value would exceed the protocol's limit. */
interface Chunk {
  hosts: string[]
  referrers: string[]
  countries: string[]
  hits: number[]
}

/** Splits groups into chunks that one statement inserts. */
export function* chunksOf(groups: Iterable<GroupCount>): Generator<Chunk> {
  let chunk = emptyChunk()
  let characters = 0
  for (const { host, referrer, country, hits } of groups) {
    chunk.hosts.push(host)
    chunk.referrers.push(referrer)
    chunk.countries.push(country)
    chunk.hits.push(hits)
    characters += host.length + referrer.length
    if (chunk.hits.length < MAX_CHUNK.groups && characters < MAX_CHUNK.characters) continue
    yield chunk
    chunk = emptyChunk()
    characters = 0
  }
  if (chunk.hits.length > 0) yield chunk
}

function emptyChunk(): Chunk {
  return { hosts: [], referrers: [], countries: [], hits: [] }
}
