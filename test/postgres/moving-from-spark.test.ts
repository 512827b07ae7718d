import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { migrate } from '../../src/postgres/migrate'
import { publishWindow } from '../../src/postgres/publish-window'
import { columns, T0, TestDatabase, WINDOW, type Group } from './support'

const compare = readFileSync('ddl/spark-compare.sql', 'utf8')
const takeOver = readFileSync('ddl/spark-import.sql', 'utf8')

/** The table as Spark's JDBC writer creates it. */
const SPARK_TABLE = `aggregated_web_traffic (window_start timestamp, window_end timestamp, host text, referrer text,
  num_hits bigint)`

let database: TestDatabase

beforeAll(async () => {
  database = await TestDatabase.migrated()
  await database.pool.query(`create schema spark; create table spark.${SPARK_TABLE}`)
})

afterAll(async () => {
  await database.drop()
})

const at = (n: number) => T0 + n * WINDOW

async function spark(n: number, rows: [host: string | null, referrer: string | null, hits: number][]) {
  const [start, end] = [at(n), at(n) + WINDOW].map(time => new Date(time).toISOString().replace('Z', ''))
  for (const [host, referrer, hits] of rows)
    await database.pool.query('insert into spark.aggregated_web_traffic values ($1, $2, $3, $4, $5)', [
      start,
      end,
      host,
      referrer,
      hits,
    ])
}

const ours = (n: number, groups: Group[]) =>
  publishWindow(database.db, {
    start: at(n),
    end: at(n) + WINDOW,
    revision: 1,
    status: 'closed',
    maxGroups: 250_000,
    hits: groups.reduce((sum, [, , , hits]) => sum + hits, 0),
    counts: columns(...groups),
    applied: [],
  })

interface Difference {
  window_start: Date
  spark_hits: string | null
  hits: string | null
  groups_that_differ: string
  spark_copies: string | null
}

async function differences(): Promise<Difference[]> {
  const results = (await database.pool.query(compare)) as unknown as { rows: Difference[] }[]
  return results.at(-1)!.rows
}

const totals = () =>
  database.rows<{ window_start: Date; host: string; referrer: string; num_hits: string }>(
    'select window_start, host, referrer, num_hits from aggregated_web_traffic order by 1, 2, 3',
  )

test('windows are compared by their counts, and old ones are copied once', async () => {
  // Before this pipeline ran: a window written twice, and a record that did not parse.
  const old: [string | null, string | null, number][] = [
    ['A.example:8080', 'https://r.example/', 5],
    ['a.example', null, 2],
    ['a.example', '-', 3],
  ]
  await spark(0, [...old, ...old, [null, null, 7]])
  // While both ran: equal except for spelling; then with a duplicate; then with a row that Spark dropped.
  await spark(1, [
    ['A.EXAMPLE', '-', 4],
    ['b.example:80', 'https://r.example/', 1],
  ])
  await ours(1, [
    ['a.example', '', 'DE', 3],
    ['a.example', '', 'FR', 1],
    ['b.example', 'https://r.example/', 'DE', 1],
  ])
  await spark(2, [['a.example', '', 4]])
  await spark(2, [['a.example', '', 4]])
  await ours(2, [['a.example', '', 'DE', 4]])
  await spark(3, [['a.example', '', 4]])
  await ours(3, [
    ['a.example', '', 'DE', 6],
    ['b.example', '', 'DE', 1],
  ])
  await spark(4, [['a.example', '', 1]])
  await ours(4, [['a.example', '', 'DE', 1]])

  expect(await differences()).toMatchObject([
    { window_start: new Date(at(3)), spark_hits: '4', hits: '7', groups_that_differ: '2', spark_copies: '1' },
  ])

  const before = await totals()
  await database.pool.query(takeOver)
  const after = await totals()
  expect(after).toEqual([
    { window_start: new Date(at(0)), host: 'a.example', referrer: '', num_hits: '5' },
    { window_start: new Date(at(0)), host: 'a.example', referrer: 'https://r.example/', num_hits: '5' },
    ...before,
  ])
  await database.pool.query(takeOver)
  expect(await totals()).toEqual(after)
})

test("a database with the Spark job's table is refused in one line and not changed", async () => {
  const other = await TestDatabase.empty()
  try {
    await other.pool.query(`create table ${SPARK_TABLE}`)
    await expect(migrate(other.db)).rejects.toThrow(/belong to something else.*POSTGRES_DB/)
    expect(
      await other.rows("select 1 from information_schema.tables where table_name = 'pipeline_owner'"),
    ).toEqual([])
  } finally {
    await other.drop()
  }
})
