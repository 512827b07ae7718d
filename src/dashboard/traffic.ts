import { sql } from 'kysely'
import { MAX_REFERRER_LENGTH } from '../core/event/event'
import { divides, PERIODS } from '../core/window/periods'
import type { Transaction } from '../postgres/database'
import { hitsBy, partsOf, within, type Hosts, type RangePart } from '../postgres/rollups'
import type { Dimension } from '../postgres/schema'
import type { Breakdown, LateHits, Ranked, Ranking, Series, TimeRange, Timeline } from './api'
import type { Selection } from './parameters'
import { defaultRange, resolveRange, type Extent } from './time-range'

/** Hosts in the page's list. */
const LISTED_HOSTS = 50
/** Hosts with their own series. */
const CHARTED_HOSTS = 7
const TOP = 10
const MAX_LATE_ROWS = 1_000

/** Hits by bucket and host. */
export const timeline =
  ({ range: requested, host }: Selection) =>
  async (transaction: Transaction): Promise<Timeline> => {
    const range = await rangeOf(transaction, requested)
    if (!range) return { range: null, hits: 0, hosts: [], hostCount: 0, series: [] }
    return { range, ...assemble(await hitsByHost(transaction, range, host), range, host) }
  }

interface Cell {
  /** Index of the bucket; null for the host's total. */
  bucket: number | null
  /** Null for all hosts without their own series. */
  host: string | null
  hits: number
  hostCount: number
}

/**
 * Scans the hits once. The result is bounded: for each bucket, the hits of each charted host and of the rest; for each
 * listed host, its total.
 */
async function hitsByHost(transaction: Transaction, range: TimeRange, selected?: string): Promise<Cell[]> {
  const periods = PERIODS.filter(period => divides(period, range.bucket))
  const parts = await partsOf(transaction, range, periods)
  const from = new Date(range.from)
  const charted = selected === undefined ? sql`rank <= ${CHARTED_HOSTS}` : sql`host = ${selected}`
  const { rows } = await sql<Cell>`
    with cells as materialized (
      select date_bin(make_interval(secs => ${range.bucket / 1_000}), at, ${from}) as at, name as host,
        sum(num_hits)::bigint as hits
      from (${hitsBy('host', 'all', parts)}) hits
      group by 1, 2),
    ranked as (
      select host, sum(hits)::bigint as hits, row_number() over (order by sum(hits) desc, host) as rank,
        count(*) over ()::int as "hostCount"
      from cells group by host)
    select null as bucket, host, hits, "hostCount" from ranked
    where rank <= ${LISTED_HOSTS} or host = ${selected ?? null}
    union all
    select (extract(epoch from at - ${from}) * 1000 / ${range.bucket}::bigint)::int, case when ${charted} then host end,
      sum(cells.hits)::bigint, max("hostCount")
    from cells join ranked using (host)
    group by at, 2`.execute(transaction)
  return rows
}

function assemble(cells: Cell[], range: TimeRange, selected: string | undefined): Omit<Timeline, 'range'> {
  const hosts = cells
    .filter(({ bucket }) => bucket === null)
    .map(({ host, hits }): Ranked => ({ name: host!, hits }))
    .sort((a, b) => b.hits - a.hits || (a.name < b.name ? -1 : 1))
  const hostCount = cells[0]?.hostCount ?? 0
  const charted = selected === undefined ? hosts.slice(0, CHARTED_HOSTS).map(({ name }) => name) : [selected]
  const buckets = (range.to - range.from) / range.bucket
  const emptySeries = (host: string | null): Series => ({ host, hits: new Array<number>(buckets).fill(0) })
  const series = charted.map(emptySeries)
  if (selected === undefined && hostCount > charted.length) series.push(emptySeries(null))
  const byHost = new Map(series.map(each => [each.host, each.hits]))
  let hits = 0
  for (const { bucket, host, hits: more } of cells) {
    const target = bucket === null ? undefined : byHost.get(host)
    if (!target) continue
    target[bucket!]! += more
    hits += more
  }
  return { hits, hosts, hostCount, series }
}

/** Hits by referrer and country, and late hits. */
export const breakdown =
  ({ range: requested, host }: Selection) =>
  async (transaction: Transaction): Promise<Breakdown> => {
    const range = await rangeOf(transaction, requested)
    if (!range) return { referrers: NONE, countries: NONE, late: [] }
    const parts = await partsOf(transaction, range)
    const hosts = host === undefined ? 'all' : { host }
    return {
      referrers: await rank(transaction, 'referrer', hosts, parts),
      countries: await rank(transaction, 'country', hosts, parts),
      late: await lateHits(transaction, range, host),
    }
  }

const NONE: Ranking = { top: [], names: 0, hits: 0 }

/** The most frequent names in these parts of the time range. */
export async function rank(
  transaction: Transaction,
  dimension: Dimension,
  hosts: Hosts,
  parts: RangePart[],
): Promise<Ranking> {
  const found = await sql<Ranked & { names: number; all: number }>`
    select left(name, ${MAX_REFERRER_LENGTH}) as name, hits, names, "all"
    from (
      select name, sum(num_hits)::bigint as hits, count(*) over () as names,
        (sum(sum(num_hits)) over ())::bigint as "all"
      from (${hitsBy(dimension, hosts, parts)}) hits
      group by 1 order by 2 desc, 1 limit ${TOP}) top`.execute(transaction)
  const [first] = found.rows
  return {
    top: found.rows.map(({ name, hits }) => ({ name, hits })),
    names: first?.names ?? 0,
    hits: first?.all ?? 0,
  }
}

function lateHits(transaction: Transaction, range: TimeRange, host: string | undefined): Promise<LateHits[]> {
  return transaction
    .selectFrom('late_deltas')
    .select(['kafka_partition as partition', 'cause', sql<number>`sum(num_hits)::bigint`.as('hits')])
    .where('brought_in', 'is', null)
    .where(within('window_start', range))
    .$if(host !== undefined, query => query.where('host', '=', host!))
    .groupBy(['kafka_partition', 'cause'])
    .orderBy('kafka_partition')
    .orderBy('cause')
    .limit(MAX_LATE_ROWS)
    .execute()
}

async function rangeOf(
  transaction: Transaction,
  requested: Selection['range'],
): Promise<TimeRange | undefined> {
  const extent = await extentOf(transaction)
  return extent && resolveRange(requested ?? { name: defaultRange(extent.windowSize) }, extent)
}

async function extentOf(transaction: Transaction): Promise<Extent | undefined> {
  const edge = (order: 'asc' | 'desc') =>
    transaction
      .selectFrom('window_results')
      .select(['window_start', 'window_end'])
      .orderBy('window_start', order)
      .limit(1)
      .executeTakeFirst()
  const [oldest, newest] = [await edge('asc'), await edge('desc')]
  if (!oldest || !newest) return undefined
  const last = newest.window_start.getTime()
  const dropped = await transaction.selectFrom('past_retention').select('dropped_before').executeTakeFirst()
  const first = Math.max(oldest.window_start.getTime(), dropped?.dropped_before.getTime() ?? -Infinity)
  return { first: Math.min(first, last), last, windowSize: newest.window_end.getTime() - last }
}
