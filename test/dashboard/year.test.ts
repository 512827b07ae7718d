import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config'
import type { Breakdown, Timeline } from '../../src/dashboard/messages'
import { Dashboard } from '../../src/dashboard/server'
import { TestDatabase } from '../postgres/support'
import { openBrowser } from '../web-ui/browser'
import { figure, WatchedPage } from './support'

/** A year of windows of five minutes, and of each so many groups of host, referrer and country. */
const WINDOWS = 105_120
const GROUPS = 20

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
  'analyze',
]

let database: TestDatabase
let dashboard: Dashboard
let address: string
let browser: Browser

beforeAll(async () => {
  database = await TestDatabase.migrated()
  for (const statement of FILL) await database.rows(statement)
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

test('the database holds the year', async () => {
  const [held] = await database.rows(`select (select count(*)::int from window_results) as windows,
    (select count(*)::int from aggregated_web_traffic) as rows,
    (select count(*)::int from aggregated_web_traffic_by_country) as rows_by_country`)
  const rows = WINDOWS * GROUPS
  expect(held).toEqual({ windows: WINDOWS, rows, rows_by_country: rows })
})

test('the figures are on the screen within a second', async () => {
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
    expect(watched.misdeeds).toEqual([])
    await watched.close()
  }
  console.log(`figures after ${times.map(time => Math.round(time)).join(', ')} ms`)
  expect(median(times)).toBeLessThan(1_000)
}, 120_000)

describe('what is asked of Postgres', () => {
  test.each(['24h', '7d', '30d', '1y', 'all'])(
    'over %s is answered soon, and the answer is small',
    async range => {
      const ask = async (path: string) => {
        const begun = performance.now()
        const text = await (await fetch(`${address}api/${path}?range=${range}`)).text()
        expect(text.length).toBeLessThan(100_000)
        return [JSON.parse(text) as unknown, performance.now() - begun] as const
      }
      const [timeline, drawn] = (await ask('timeline')) as [Timeline, number]
      const [breakdown, ranked] = (await ask('breakdown')) as [Breakdown, number]
      console.log(`${range}: timeline ${Math.round(drawn)} ms, breakdown ${Math.round(ranked)} ms`)
      expect(drawn).toBeLessThan(5_000)
      expect(ranked).toBeLessThan(5_000)
      const { from, to } = timeline.span!
      const [held] = await database.rows<{ hits: number }>(
        'select sum(num_hits)::int as hits from window_results where window_start >= $1 and window_start < $2',
        [new Date(from), new Date(to)],
      )
      expect([timeline.hits, breakdown.referrers.hits, breakdown.countries.hits]).toEqual(
        [held, held, held].map(each => each!.hits),
      )
    },
  )

  test('a day is found by the index that every window has, a list of windows by its key', async () => {
    const plan = async (statement: string) =>
      (await database.rows<{ 'QUERY PLAN': string }>(`explain ${statement}`))
        .map(row => row['QUERY PLAN'])
        .join('\n')
    const day = `window_start >= '2025-12-31T00:00:00Z' and window_start < '2026-01-01T00:00:00Z'`
    expect(
      await plan(`select host, sum(num_hits) from aggregated_web_traffic where ${day} group by 1`),
    ).toContain('aggregated_web_traffic_window_host')
    expect(
      await plan(
        `select country, sum(num_hits) from aggregated_web_traffic_by_country where ${day} group by 1`,
      ),
    ).toContain('aggregated_web_traffic_by_country_window_host')
    const list = await plan('select * from traffic_windows order by window_start desc limit 13')
    expect(list).toContain('window_results_pkey')
    expect(list).not.toContain('Sort')
  })
})
