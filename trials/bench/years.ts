import { Kysely, Migrator, sql, type CompiledQuery } from 'kysely'
import { loadConfig } from '../../src/config'
import { RANGES, type RangeName } from '../../src/dashboard/time-range'
import { readOnly } from '../../src/dashboard/read-only'
import { grouped } from '../../src/core/numbers'
import { breakdown, timeline } from '../../src/dashboard/traffic'
import { windowPage, windowResult } from '../../src/dashboard/windows'
import { ConnectionPool, type PostgresConfig } from '../../src/postgres/connection-pool'
import type { Db, Transaction } from '../../src/postgres/database'
import { sealAll } from '../../src/postgres/maintain'
import { createDatabase, migrate } from '../../src/postgres/migrate'
import { migrations } from '../../src/postgres/migrations'
import type { Database } from '../../src/postgres/schema'
import { Random } from '../../src/dev/traffic/random'
import { markdownTable } from '../markdown-table'
import { quantilesOf } from '../quantiles'
import { fillYear, FIRST, HOSTS, hostName, WINDOWS } from './year'

const MINUTE = 60_000
const DAY = 1_440 * MINUTE
const FROM = Date.parse(FIRST)
const BEFORE_PARTITIONS = '0003-repairs'

type Query = (transaction: Transaction) => Promise<unknown>

export interface Timing {
  query: string
  /** Milliseconds. */
  median: number
  p95: number
  worst: number
  /** Partitions that its plans touch, and partitions in all. */
  partitions: { touched: number; all: number }
}

export interface Years {
  /** Rows in each of the two tables of counts. */
  rows: number
  /** Seconds. */
  fill: number
  migrate: number
  seal: number
  megabytes: { counts: number; totals: number }
  timings: Timing[]
}

/**
 * Times the dashboard's queries on a year of windows. Fills a new database before the migration that partitions the
 * tables, and so times that migration too.
 *
 * @param rows approximate number of rows in each table of counts
 * @param times how often to run each query
 */
export async function measureYears(
  { rows, times }: { rows: number; times: number },
  signal: AbortSignal,
): Promise<Years> {
  const postgres = { ...loadConfig().postgres, database: 'years' }
  await createDatabase(postgres)
  const { db, executed } = openWatched(postgres)
  try {
    const timed = async (run: () => Promise<unknown>) => {
      signal.throwIfAborted()
      const began = performance.now()
      await run()
      return (performance.now() - began) / 1_000
    }
    await migrateTo(db, BEFORE_PARTITIONS)
    const fill = await timed(() => fillYear(db, Math.round(rows / WINDOWS)))
    const migrated = await timed(() => migrate(db))
    const seal = await timed(() => sealAll(db, () => signal.throwIfAborted()))
    // Autovacuum would do this soon.
    await sql`vacuum analyze`.execute(db)
    const timings = await timeQueries(db, executed, times, signal)
    const counted = await sql<{ rows: number }>`select count(*) as rows from aggregated_web_traffic`.execute(
      db,
    )
    const [{ rows: filled }] = counted.rows as [{ rows: number }]
    return { rows: filled, fill, migrate: migrated, seal, megabytes: await sizes(db), timings }
  } finally {
    await db.destroy()
  }
}

async function timeQueries(
  db: Db,
  executed: CompiledQuery[],
  times: number,
  signal: AbortSignal,
): Promise<Timing[]> {
  const timings: Timing[] = []
  for (const [name, next] of Object.entries(queries(new Random(1)))) {
    signal.throwIfAborted()
    timings.push({ query: name, ...(await time(db, executed, next, times)) })
  }
  return timings
}

/** A database, and the list of the statements executed on it. */
export function openWatched(postgres: PostgresConfig): { db: Db; executed: CompiledQuery[] } {
  const executed: CompiledQuery[] = []
  const db = new Kysely<Database>({
    dialect: new ConnectionPool(postgres, 2).dialect({}),
    log: ({ query }) => void executed.push(query),
  })
  return { db, executed }
}

async function migrateTo(db: Db, name: string): Promise<void> {
  const provider = { getMigrations: () => Promise.resolve(migrations) }
  const { error } = await new Migrator({ db, provider }).migrateTo(name)
  if (error !== undefined) throw new Error(`migrating to ${name} failed`, { cause: error })
}

/** Every query of the dashboard. Each call returns one with new random parameters. */
function queries(random: Random): Record<string, () => Query> {
  const host = () => ({ host: hostName(random.below(HOSTS)) })
  const named = (name: RangeName) => ({ range: { name } })
  const some = () => {
    const length = (1 + random.below(300)) * DAY + random.below(1_440) * MINUTE
    const from = FROM + random.below((365 * DAY - length) / MINUTE) * MINUTE
    return { range: { from, to: from + length } }
  }
  const window = () => FROM + random.below(WINDOWS) * 5 * MINUTE
  const ranges = (Object.keys(RANGES) as RangeName[]).flatMap((name): [string, () => Query][] => [
    [`${name}: hits by host`, () => timeline(named(name))],
    [`${name}: referrers, countries`, () => breakdown(named(name))],
    [`${name}: referrers, countries of a host`, () => breakdown({ ...named(name), ...host() })],
  ])
  return Object.fromEntries<() => Query>([
    ...ranges,
    ['any range: hits by host', () => timeline(some())],
    ['any range: hits of a host', () => timeline({ ...some(), ...host() })],
    ['any range: referrers, countries', () => breakdown(some())],
    ['any range: referrers, countries of a host', () => breakdown({ ...some(), ...host() })],
    ['a page of windows', () => windowPage(window())],
    ['one window', () => windowResult(window())],
  ])
}

async function time(
  db: Db,
  executed: CompiledQuery[],
  next: () => Query,
  times: number,
): Promise<Omit<Timing, 'query'>> {
  const took: number[] = []
  let touched = 0
  for (let n = 0; n < times; n++) {
    executed.length = 0
    const began = performance.now()
    await readOnly(db, next())
    took.push(performance.now() - began)
    if (n === 0) touched = (await partitionsOf(db, [...executed])).size
  }
  const at = quantilesOf(took)
  return {
    median: at(0.5),
    p95: at(0.95),
    worst: at(1),
    partitions: { touched, all: await allPartitions(db) },
  }
}

/** The partitions that the plans of these queries touch. */
export async function partitionsOf(db: Db, queries: CompiledQuery[]): Promise<Set<string>> {
  const found = new Set<string>()
  for (const { sql: text, parameters } of queries) {
    if (!/^\s*(select|with)\b/.test(text) || text.includes('set_config')) continue
    const { rows } = await db.executeQuery<{ 'QUERY PLAN': object }>({
      ...sql`select`.compile(db),
      sql: `explain (format json) ${text}`,
      parameters,
    })
    for (const [, relation] of JSON.stringify(rows).matchAll(/"Relation Name":"(\w+_\d{4}_\d\d)"/g))
      found.add(relation!)
  }
  return found
}

async function allPartitions(db: Db): Promise<number> {
  const { rows } = await sql<{ all: number }>`
    select count(*) as "all" from pg_inherits join pg_class parent on parent.oid = inhparent
    where parent.relkind = 'p'`.execute(db)
  return rows[0]!.all
}

async function sizes(db: Db): Promise<Years['megabytes']> {
  const { rows } = await sql<{ totals: boolean; bytes: number }>`
    select relname like 'traffic_rollups%' as totals, sum(pg_total_relation_size(oid))::bigint as bytes
    from pg_class where relispartition and relkind = 'r' group by 1`.execute(db)
  const of = (totals: boolean) =>
    Math.round((rows.find(row => row.totals === totals)?.bytes ?? 0) / (1 << 20))
  return { counts: of(false), totals: of(true) }
}

/** The result as a line and a Markdown table. */
export function yearsTable({ rows, fill, migrate, seal, megabytes, timings }: Years): string {
  const seconds = (value: number) => `${value.toFixed(0)} s`
  return [
    `${grouped(rows)} rows in each table of counts, ${megabytes.counts} MB, and ${megabytes.totals} MB of rollups. ` +
      `Filled in ${seconds(fill)}, partitioned in ${seconds(migrate)}, rolled up in ${seconds(seal)}.`,
    '',
    markdownTable(
      ['query', 'median, ms', '95th percentile, ms', 'worst, ms', 'partitions'],
      timings.map(({ query, median, p95, worst, partitions }) => [
        query,
        ...[median, p95, worst].map(ms => ms.toFixed(0)),
        `${partitions.touched} of ${partitions.all}`,
      ]),
    ),
  ].join('\n')
}
