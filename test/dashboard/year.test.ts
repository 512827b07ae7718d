import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config'
import type { Breakdown, Timeline } from '../../src/dashboard/api'
import { openWatched, partitionsOf } from '../../trials/bench/years'
import { readOnly } from '../../src/dashboard/read-only'
import { Dashboard } from '../../src/dashboard/server'
import { breakdown, timeline } from '../../src/dashboard/traffic'
import { windowResult } from '../../src/dashboard/windows'
import type { Transaction } from '../../src/postgres/database'
import { sealPeriod, unsealedPeriods } from '../../src/postgres/seal'
import { TestDatabase } from '../postgres/support'
import { openBrowser } from '../web-ui/browser'
import { figure, WatchedPage } from './support'

/** A year of five-minute windows, and the groups of host, referrer and country in each. */
const WINDOWS = 105_120
const GROUPS = 10

const YEAR = `generate_series('2025-01-01T00:00:00Z'::timestamptz, '2025-12-31T23:55:00Z', interval '5 minutes')`
const FILL = [
  `select create_partitions(m) from generate_series('2025-01-15'::timestamptz, '2025-12-15', interval '1 month') m`,
  `insert into aggregated_web_traffic_by_country
    select t, t + interval '5 minutes', (array['www', 'shop', 'blog', 'api'])[1 + g % 4] || '.example',
      case when g < 4 then '' else 'https://site-' || (g * 7 + n) % 2000 || '.example/page' end,
      (array['DE', 'US', 'FR', 'GB', '??'])[1 + g % 5], 1 + (g * 13 + n) % 40
    from ${YEAR} with ordinality as w (t, n), generate_series(0, ${GROUPS - 1}) g`,
  `insert into aggregated_web_traffic
    select window_start, window_end, host, referrer, num_hits from aggregated_web_traffic_by_country`,
  `insert into window_results
    select window_start, window_end, 'closed', sum(num_hits), count(*), 1, window_end,
      '[{"partition":0,"from":0,"basis":null,"last":1000}]'
    from aggregated_web_traffic group by 1, 2 order by 1`,
]

let database: TestDatabase
let dashboard: Dashboard
let address: string
let browser: Browser

beforeAll(async () => {
  database = await TestDatabase.migrated()
  for (const statement of FILL) await database.rows(statement)
  for (const period of ['day', 'month'] as const)
    for (const start of await unsealedPeriods(database.db, period))
      await sealPeriod(database.db, period, start)
  await database.rows('analyze')
  dashboard = new Dashboard({ ...loadConfig(), postgres: database.postgres }, { namespace: 'default' })
  address = await dashboard.start()
  browser = await openBrowser()
}, 300_000)
afterAll(async () => {
  await browser?.close()
  await dashboard?.end()
  await database?.drop()
})

const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

test('the database contains the year', async () => {
  const [held] = await database.rows(`select (select count(*)::int from window_results) as windows,
    (select count(*)::int from aggregated_web_traffic) as rows,
    (select count(*)::int from aggregated_web_traffic_by_country) as rows_by_country`)
  const rows = WINDOWS * GROUPS
  expect(held).toEqual({ windows: WINDOWS, rows, rows_by_country: rows })
})

test('the page shows its figures within a second', async () => {
  const times: number[] = []
  for (let visit = 0; visit < 5; visit++) {
    const watched = await WatchedPage.open(browser, address)
    await watched.page.locator('#hits', { hasNotText: '–' }).waitFor()
    await watched.page.locator('#referrers table').waitFor()
    await watched.page.locator('#windows .window-name').first().waitFor()
    times.push(await watched.page.evaluate<number>('performance.now()'))
    const [day] = await database.rows<{ hits: number }>(
      `select sum(num_hits)::int as hits from aggregated_web_traffic where window_start >= '2025-12-31T00:00:00Z'`,
    )
    expect(figure(await watched.text('#hits'))).toBe(day!.hits)
    expect(watched.violations).toEqual([])
    await watched.close()
  }
  console.log(`figures after ${times.map(time => Math.round(time)).join(', ')} ms`)
  expect(median(times)).toBeLessThan(1_000)
}, 120_000)

describe('an answer from Postgres', () => {
  test.each(['24h', '7d', '30d', '1y', 'all'])('over %s takes less than 5 s and is small', async range => {
    const ask = async (path: string) => {
      const startedAt = performance.now()
      const text = await (await fetch(`${address}api/${path}?range=${range}`)).text()
      expect(text.length).toBeLessThan(100_000)
      return [JSON.parse(text) as unknown, performance.now() - startedAt] as const
    }
    const [timeline, drawn] = (await ask('timeline')) as [Timeline, number]
    const [breakdown, ranked] = (await ask('breakdown')) as [Breakdown, number]
    console.log(`${range}: timeline ${Math.round(drawn)} ms, breakdown ${Math.round(ranked)} ms`)
    expect(drawn).toBeLessThan(5_000)
    expect(ranked).toBeLessThan(5_000)
    const { from, to } = timeline.range!
    const [held] = await database.rows<{ hits: number }>(
      'select sum(num_hits)::int as hits from window_results where window_start >= $1 and window_start < $2',
      [new Date(from), new Date(to)],
    )
    expect([timeline.hits, breakdown.referrers.hits, breakdown.countries.hits]).toEqual(
      [held, held, held].map(each => each!.hits),
    )
  })

  test('over a year, or over some days of it, equals the sum of its rows', async () => {
    const ranges = [
      { from: Date.parse('2025-01-01T00:00:00Z'), to: Date.parse('2026-01-01T00:00:00Z') },
      { from: Date.parse('2025-03-10T00:00:00Z'), to: Date.parse('2025-06-11T00:00:00Z') },
      { from: Date.parse('2025-06-29T22:00:00Z'), to: Date.parse('2025-07-02T02:00:00Z') },
    ]
    for (const range of ranges)
      for (const host of [undefined, 'shop.example']) {
        const only = host === undefined ? {} : { host }
        const found = await readOnly(database.db, breakdown({ range, ...only }))
        const { hits } = await readOnly(database.db, timeline({ range, ...only }))
        const resolved = (await readOnly(database.db, timeline({ range }))).range!
        const top = (table: string, column: string) =>
          database.rows<{ name: string; hits: number }>(
            `select ${column} as name, sum(num_hits)::int as hits from ${table}
              where window_start >= $1 and window_start < $2 and ($3::text is null or host = $3)
              group by 1 order by 2 desc, 1`,
            [new Date(resolved.from), new Date(resolved.to), host ?? null],
          )
        const referrers = await top('aggregated_web_traffic', 'referrer')
        const sum = referrers.reduce((all, row) => all + row.hits, 0)
        expect(found.referrers).toEqual({ top: referrers.slice(0, 10), names: referrers.length, hits: sum })
        const countries = await top('aggregated_web_traffic_by_country', 'country')
        expect(found.countries).toEqual({ top: countries.slice(0, 10), names: countries.length, hits: sum })
        expect(hits).toBe(sum)
      }
  })
})

describe('the query plans read', () => {
  let watched: ReturnType<typeof openWatched>

  beforeAll(() => {
    watched = openWatched(database.postgres)
  })
  afterAll(() => watched.db.destroy())

  /** The tables and months of the partitions that a query reads. */
  async function touched(question: (transaction: Transaction) => Promise<unknown>) {
    const { db, executed } = watched
    executed.length = 0
    await readOnly(db, question)
    const found = [...(await partitionsOf(db, [...executed]))]
    const of = (pattern: RegExp) => [...new Set(found.map(name => pattern.exec(name)![1]!))].sort()
    return { tables: of(/^(.*)_\d+_\d+$/), months: of(/_(\d+_\d+)$/) }
  }

  const june = { from: Date.parse('2025-06-03T04:00:00Z'), to: Date.parse('2025-06-20T05:00:00Z') }
  const totals = ['traffic_rollups']
  const year = Array.from({ length: 12 }, (_, n) => `2025_${String(n + 1).padStart(2, '0')}`)

  test('only the months in the range', async () => {
    expect(await touched(timeline({ range: june }))).toEqual({ tables: totals, months: ['2025_06'] })
    const rows = ['aggregated_web_traffic', 'traffic_rollups']
    expect(await touched(breakdown({ range: june }))).toEqual({ tables: rows, months: ['2025_06'] })
    expect((await touched(breakdown({ range: { name: '24h' } }))).months).toEqual(['2025_12'])
    expect((await touched(breakdown({ range: { name: '30d' }, host: 'shop.example' }))).months).toEqual([
      '2025_12',
    ])
    const across = { from: june.from, to: Date.parse('2025-08-02T00:00:00Z') }
    expect((await touched(breakdown({ range: across }))).months).toEqual(['2025_06', '2025_07', '2025_08'])
  })

  test('only totals for a year', async () => {
    const everything = { tables: totals, months: year }
    expect(await touched(timeline({ range: { name: '1y' } }))).toEqual(everything)
    expect(await touched(breakdown({ range: { name: '1y' } }))).toEqual(everything)
    expect(await touched(breakdown({ range: { name: 'all' }, host: 'shop.example' }))).toEqual(everything)
  })

  test('one month for a window, by its index; only the primary key for the list of windows', async () => {
    const one = await touched(windowResult(june.from))
    expect(one).toEqual({ tables: ['aggregated_web_traffic', 'traffic_rollups'], months: ['2025_06'] })
    const plan = async (statement: string) =>
      (await database.rows<{ 'QUERY PLAN': string }>(`explain ${statement}`))
        .map(row => row['QUERY PLAN'])
        .join('\n')
    for (const table of ['aggregated_web_traffic', 'aggregated_web_traffic_by_country'])
      expect(await plan(`delete from ${table} where window_start = '2025-06-03T04:00:00Z'`)).toContain(
        `${table}_2025_06_window_start_host_idx`,
      )
    const list = await plan('select * from traffic_windows order by window_start desc limit 13')
    expect(list).toContain('window_results_pkey')
    expect(list).not.toContain('Sort')
  })
})
