import { sql } from 'kysely'
import { MAX_REFERRER_LENGTH } from '../core/event/event'
import { divides, PERIODS } from '../core/window/periods'
import type { Transaction } from '../postgres/database'
import { hitsBy, partsOf, within, type Hosts, type RangePart } from '../postgres/rollups'
import type { Dimension } from '../postgres/schema'
import type { Breakdown, LateHits, Ranked, Ranking, Series, Span, Timeline } from './messages'
import type { Selection } from './request'
import { defaultRange, spanOf, type Extent } from './span'

/** Hosts that can be picked from a list. */
const LISTED_HOSTS = 50
/** Hosts with a colour of their own. */
const DRAWN_HOSTS = 7
const TOP = 10
const MOST_PARTITIONS = 1_000

/** Hits by bucket and host. */
export const timeline =
  ({ range, host }: Selection) =>
  async (transaction: Transaction): Promise<Timeline> => {
    const span = await spanIn(transaction, range)
    if (!span) return { span: null, hits: 0, hosts: [], hostCount: 0, series: [] }
    return { span, ...arrange(await hitsByHost(transaction, span, host), span, host) }
  }

interface Cell {
  /** Number of the bucket; null for what the host has in all of them. */
  bucket: number | null
  /** Null for all hosts that are not drawn. */
  host: string | null
  hits: number
  /** How many hosts there are. */
  hosts: number
}

/**
 * One pass over the span's hits. What comes back is bounded: hits in each bucket of the hosts that are drawn and of all
 * others, and in all of them of the hosts that are listed, the most frequent first.
 */
async function hitsByHost(transaction: Transaction, span: Span, picked?: string): Promise<Cell[]> {
  const periods = PERIODS.filter(period => divides(period, span.bucket))
  const pieces = await partsOf(transaction, span, periods)
  const from = new Date(span.from)
  const drawn = picked === undefined ? sql`rank <= ${DRAWN_HOSTS}` : sql`host = ${picked}`
  const { rows } = await sql<Cell>`
    with cells as materialized (
      select date_bin(make_interval(secs => ${span.bucket / 1_000}), at, ${from}) as at, name as host,
        sum(num_hits)::bigint as hits
      from (${hitsBy('host', 'all', pieces)}) hits
      group by 1, 2),
    ranked as (
      select host, sum(hits)::bigint as hits, row_number() over (order by sum(hits) desc, host) as rank,
        count(*) over ()::int as hosts
      from cells group by host)
    select null as bucket, host, hits, hosts from ranked
    where rank <= ${LISTED_HOSTS} or host = ${picked ?? null}
    union all
    select (extract(epoch from at - ${from}) * 1000 / ${span.bucket}::bigint)::int, case when ${drawn} then host end,
      sum(cells.hits)::bigint, max(hosts)
    from cells join ranked using (host)
    group by at, 2`.execute(transaction)
  return rows
}

function arrange(cells: Cell[], span: Span, picked: string | undefined): Omit<Timeline, 'span'> {
  const hosts = cells
    .filter(({ bucket }) => bucket === null)
    .map(({ host, hits }): Ranked => ({ name: host!, hits }))
    .sort((a, b) => b.hits - a.hits || (a.name < b.name ? -1 : 1))
  const hostCount = cells[0]?.hosts ?? 0
  const drawn = picked === undefined ? hosts.slice(0, DRAWN_HOSTS).map(({ name }) => name) : [picked]
  const buckets = (span.to - span.from) / span.bucket
  const series = drawn.map((host): Series => ({ host, hits: zeros(buckets) }))
  const rest: Series = { host: null, hits: zeros(buckets) }
  const byHost = new Map(series.map(each => [each.host, each]))
  let hits = 0
  for (const cell of cells) {
    if (cell.bucket === null) continue
    hits += cell.hits
    ;(byHost.get(cell.host) ?? rest).hits[cell.bucket]! += cell.hits
  }
  if (picked !== undefined) {
    const mine = hosts.find(({ name }) => name === picked)
    return { hits: mine?.hits ?? 0, hosts, hostCount, series }
  }
  return { hits, hosts, hostCount, series: hostCount > drawn.length ? [...series, rest] : series }
}

const zeros = (length: number) => new Array<number>(length).fill(0)

/** Where the hits of a span come from, and which were late. */
export const breakdown =
  ({ range, host }: Selection) =>
  async (transaction: Transaction): Promise<Breakdown> => {
    const span = await spanIn(transaction, range)
    if (!span) return { referrers: NONE, countries: NONE, late: [] }
    const pieces = await partsOf(transaction, span)
    const hosts = host === undefined ? 'all' : { host }
    return {
      referrers: await rank(transaction, 'referrer', hosts, pieces),
      countries: await rank(transaction, 'country', hosts, pieces),
      late: await lateHits(transaction, span, host),
    }
  }

const NONE: Ranking = { top: [], names: 0, hits: 0 }

/** The most frequent names in these pieces of time. */
export async function rank(
  transaction: Transaction,
  dimension: Dimension,
  hosts: Hosts,
  pieces: RangePart[],
): Promise<Ranking> {
  const found = await sql<Ranked & { names: number; all: number }>`
    select left(name, ${MAX_REFERRER_LENGTH}) as name, hits, names, "all"
    from (
      select name, sum(num_hits)::bigint as hits, count(*) over () as names,
        (sum(sum(num_hits)) over ())::bigint as "all"
      from (${hitsBy(dimension, hosts, pieces)}) hits
      group by 1 order by 2 desc, 1 limit ${TOP}) top`.execute(transaction)
  const [first] = found.rows
  return {
    top: found.rows.map(({ name, hits }) => ({ name, hits })),
    names: first?.names ?? 0,
    hits: first?.all ?? 0,
  }
}

function lateHits(transaction: Transaction, span: Span, host: string | undefined): Promise<LateHits[]> {
  return transaction
    .selectFrom('late_deltas')
    .select(['kafka_partition as partition', 'cause', sql<number>`sum(num_hits)::bigint`.as('hits')])
    .where('brought_in', 'is', null)
    .where(within('window_start', span))
    .$if(host !== undefined, query => query.where('host', '=', host!))
    .groupBy(['kafka_partition', 'cause'])
    .orderBy('kafka_partition')
    .orderBy('cause')
    .limit(MOST_PARTITIONS)
    .execute()
}

async function spanIn(transaction: Transaction, range: Selection['range']): Promise<Span | undefined> {
  const extent = await extentOf(transaction)
  return extent && spanOf(range ?? { name: defaultRange(extent.windowSize) }, extent)
}

async function extentOf(transaction: Transaction): Promise<Extent | undefined> {
  const end = (order: 'asc' | 'desc') =>
    transaction
      .selectFrom('window_results')
      .select(['window_start', 'window_end'])
      .orderBy('window_start', order)
      .limit(1)
      .executeTakeFirst()
  const [first, last] = [await end('asc'), await end('desc')]
  if (!first || !last) return undefined
  const start = last.window_start.getTime()
  const dropped = await transaction.selectFrom('past_retention').select('dropped_before').executeTakeFirst()
  const begin = Math.max(first.window_start.getTime(), dropped?.dropped_before.getTime() ?? -Infinity)
  return { first: Math.min(begin, start), last: start, windowSize: last.window_end.getTime() - start }
}
