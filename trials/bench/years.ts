import { Kysely, Migrator, sql, type CompiledQuery } from 'kysely'
import { loadConfig } from '../../src/config'
import { RANGES, type RangeName } from '../../src/dashboard/time-range'
import { readOnly } from '../../src/dashboard/read-only'
import { breakdown, timeline } from '../../src/dashboard/traffic'
import { windowPage, windowResult } from '../../src/dashboard/windows'
import { type Db, dialectFor, type PostgresConfig, type Transaction } from '../../src/postgres/database'
import { sealAll } from '../../src/postgres/maintain'
import { createDatabase, migrate } from '../../src/postgres/migrate'
import { migrations } from '../../src/postgres/migrations'
import type { Database } from '../../src/postgres/schema'
import { Random } from '../../src/dev/traffic/random'
import { quantileOf } from './quantile'
import { fillYear, FIRST, HOSTS, hostName, WINDOWS } from './year'

const MINUTE = 60_000
const DAY = 1_440 * MINUTE
const FROM = Date.parse(FIRST)
const BEFORE_PARTITIONS = '0003-repairs'

type Question = (transaction: Transaction) => Promise<unknown>

export interface Answered {
  question: string
  /** Milliseconds. */
  median: number
  p95: number
  worst: number
  /** Partitions that its plans touch, of how many there are. */
  partitions: { touched: number; all: number }
}

export interface Years {
  /** In each of the two tables of counts. */
  rows: number
  /** Seconds. */
  fill: number
  migrate: number
  seal: number
  megabytes: { counts: number; totals: number }
  answered: Answered[]
}

/**
 * A year of windows in a database of its own, filled before the tables are partitioned, brought up to date, and asked
 * what the dashboard asks.
 *
 * @param rows of each table of counts, about
 * @param times how often each question is asked
 */
export async function measureYears(
  { rows, times }: { rows: number; times: number },
  signal: AbortSignal,
): Promise<Years> {
  const postgres = { ...loadConfig().postgres, database: 'years' }
  await createDatabase(postgres)
  const { db, asked } = openWatched(postgres)
  try {
    const timed = async (run: () => Promise<unknown>) => {
      signal.throwIfAborted()
      const begun = performance.now()
      await run()
      return (performance.now() - begun) / 1_000
    }
    await migrateTo(db, BEFORE_PARTITIONS)
    const fill = await timed(() => fillYear(db, Math.round(rows / WINDOWS)))
    const migrated = await timed(() => migrate(db))
    const seal = await timed(() => sealAll(db, () => signal.throwIfAborted()))
    // As it is before long by itself.
    await sql`vacuum analyze`.execute(db)
    const answered = await askEverything(db, asked, times, signal)
    const [{ held }] = (
      await sql<{ held: number }>`select count(*) as held from aggregated_web_traffic`.execute(db)
    ).rows as [{ held: number }]
    return { rows: held, fill, migrate: migrated, seal, megabytes: await sizes(db), answered }
  } finally {
    await db.destroy()
  }
}

export async function askEverything(
  db: Db,
  asked: CompiledQuery[],
  times: number,
  signal: AbortSignal,
): Promise<Answered[]> {
  const answered: Answered[] = []
  for (const [question, ask] of Object.entries(questions(new Random(1)))) {
    signal.throwIfAborted()
    answered.push({ question, ...(await answer(db, asked, ask, times)) })
  }
  return answered
}

/** What is asked of it can be looked at. */
export function openWatched(postgres: PostgresConfig): { db: Db; asked: CompiledQuery[] } {
  const asked: CompiledQuery[] = []
  const db = new Kysely<Database>({
    dialect: dialectFor(postgres, 2),
    log: ({ query }) => void asked.push(query),
  })
  return { db, asked }
}

async function migrateTo(db: Db, name: string): Promise<void> {
  const provider = { getMigrations: () => Promise.resolve(migrations) }
  const { error } = await new Migrator({ db, provider }).migrateTo(name)
  if (error !== undefined) throw new Error(`${name} cannot be reached`, { cause: error })
}

/** Everything that the page asks for; a new one each time, where there is something to choose. */
function questions(random: Random): Record<string, () => Question> {
  const host = () => ({ host: hostName(random.below(HOSTS)) })
  const named = (name: RangeName) => ({ range: { name } })
  const some = () => {
    const length = (1 + random.below(300)) * DAY + random.below(1_440) * MINUTE
    const from = FROM + random.below((365 * DAY - length) / MINUTE) * MINUTE
    return { range: { from, to: from + length } }
  }
  const window = () => FROM + random.below(WINDOWS) * 5 * MINUTE
  const ranges = (Object.keys(RANGES) as RangeName[]).flatMap((name): [string, () => Question][] => [
    [`${name}: hits by host`, () => timeline(named(name))],
    [`${name}: referrers, countries`, () => breakdown(named(name))],
    [`${name}: referrers, countries of a host`, () => breakdown({ ...named(name), ...host() })],
  ])
  return Object.fromEntries<() => Question>([
    ...ranges,
    ['any range: hits by host', () => timeline(some())],
    ['any range: hits of a host', () => timeline({ ...some(), ...host() })],
    ['any range: referrers, countries', () => breakdown(some())],
    ['any range: referrers, countries of a host', () => breakdown({ ...some(), ...host() })],
    ['a page of windows', () => windowPage(window())],
    ['one window', () => windowResult(window())],
  ])
}

async function answer(
  db: Db,
  asked: CompiledQuery[],
  ask: () => Question,
  times: number,
): Promise<Omit<Answered, 'question'>> {
  const took: number[] = []
  let touched = 0
  for (let n = 0; n < times; n++) {
    asked.length = 0
    const begun = performance.now()
    await readOnly(db, ask())
    took.push(performance.now() - begun)
    if (n === 0) touched = (await partitionsOf(db, [...asked])).size
  }
  const at = quantileOf(took)
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

/** The figures as a Markdown table. */
export function yearsTable({ rows, fill, migrate, seal, megabytes, answered }: Years): string {
  const seconds = (value: number) => `${value.toFixed(0)} s`
  return [
    `${rows.toLocaleString('en-US')} rows in each table of counts, ${megabytes.counts} MB, and ${megabytes.totals} MB of totals. ` +
      `Filled in ${seconds(fill)}, partitioned in ${seconds(migrate)}, added up in ${seconds(seal)}.`,
    '',
    '| question | median, ms | 95th percentile, ms | worst, ms | partitions |',
    '| --- | --- | --- | --- | --- |',
    ...answered.map(
      ({ question, median, p95, worst, partitions }) =>
        `| ${question} | ${[median, p95, worst].map(ms => ms.toFixed(0)).join(' | ')} | ${partitions.touched} of ${partitions.all} |`,
    ),
  ].join('\n')
}
