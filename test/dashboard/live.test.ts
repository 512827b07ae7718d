import { isDeepStrictEqual } from 'node:util'
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { MAX_REFERRER_LENGTH } from '../../src/core/event/event'
import { windowId } from '../../src/contract/ids'
import { formatInstant, formatWindow, windowStart } from '../../src/core/window/tumbling-window'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import { openBrowser } from '../web-ui/browser'
import { DashboardProcess, figure, WatchedPage } from './support'

const SIZE = 10_000
const SHOWN_WITHIN = 30_000

let pipeline: TestPipeline
let dashboard: DashboardProcess
let browser: Browser
let watched: WatchedPage

beforeAll(async () => {
  browser = await openBrowser()
}, 120_000)
afterAll(() => browser?.close())

beforeEach(async () => {
  pipeline = new TestPipeline({ WINDOW_SIZE: '10s', WATERMARK_DELAY: '1s', FLUSH_INTERVAL: '200ms' })
  await pipeline.begin(2)
  pipeline.startWorker()
  const { group } = pipeline.config.settings
  dashboard = await DashboardProcess.start({ KAFKA_GROUP: group, KAFKA_TOPIC: group, POSTGRES_DB: group })
})
afterEach(async () => {
  await watched?.close()
  expect(await dashboard.end()).toBe(0)
  await pipeline.destroy()
})

interface Event {
  time: number
  referrer?: string
  host?: string
  ip?: string
  partition?: number
}

const send = (...events: Event[]) =>
  pipeline.send(
    events.map(({ time, referrer = '', host = 'a.example', ip = '193.0.6.139', partition = 0 }) => ({
      partition,
      value: JSON.stringify({ event_time: time, host, referrer, ip }),
    })),
  )

const many = (count: number, event: Event) => Array.from({ length: count }, () => event)

/** Waits for a window that has just begun; returns its start. */
async function freshWindow(): Promise<number> {
  await until(() => Date.now() % SIZE < SIZE / 3, 2 * SIZE)
  return windowStart(Date.now(), SIZE)
}

const expectText = (selector: string, text: string) =>
  until(async () => (await watched.text(selector)).includes(text), SHOWN_WITHIN).catch(async () => {
    throw new Error(`${selector} shows "${await watched.text(selector)}" instead of "${text}"`)
  })

const openCard = (start: number) =>
  watched.page.locator('.open-window').filter({ hasText: formatWindow(start, SIZE) })

const ranking = async (id: string) => (await watched.rows(`#${id}`)).map(([name, hits]) => [name, hits])

/** The rows of a query as lists of cells, like those of a table on the page. */
async function stored(statement: string): Promise<string[][]> {
  const rows = await pipeline.query<Record<string, string>>(statement)
  return rows.map(row => Object.values(row))
}

test('an open window appears, fills and closes; then every figure equals the one in Postgres', async () => {
  watched = await WatchedPage.open(browser, dashboard.address)
  await expectText('#pipeline', 'running')
  expect(await openCard(windowStart(Date.now(), SIZE)).count()).toBe(0)

  const start = await freshWindow()
  await send(...many(5, { time: start + 1 }))
  await openCard(start).getByText('5 hits').waitFor({ timeout: SHOWN_WITHIN })
  await send(
    ...many(4, { time: start + 2, referrer: 'https://search.example/', partition: 1 }),
    ...many(3, { time: start + 3, host: 'b.example', ip: '8.8.8.8' }),
    ...many(2, { time: start + 4, host: 'b.example', ip: '10.0.0.1', referrer: 'https://search.example/' }),
  )
  await pipeline.send([
    { partition: 0, value: 'no JSON' },
    { partition: 1, value: '[]' },
    { partition: 1, value: 'no JSON either' },
  ])
  await openCard(start).getByText('14 hits').waitFor({ timeout: SHOWN_WITHIN })
  expect(await pipeline.query(`select from window_results`)).toHaveLength(0)
  expect(await openCard(start).getByRole('progressbar').getAttribute('aria-valuenow')).toMatch(/^\d+$/)

  await openCard(start).waitFor({ state: 'detached', timeout: SHOWN_WITHIN })
  await expectText('#hits', '14')
  // The next window, and three late events for the closed one.
  const next = await freshWindow()
  await send(...many(6, { time: next + 1 }), ...many(6, { time: next + 1, partition: 1 }))
  await openCard(next).getByText('12 hits').waitFor({ timeout: SHOWN_WITHIN })
  await send({ time: start + 1 }, { time: start + 1, partition: 1 }, { time: start + 2, partition: 1 })
  await openCard(next).waitFor({ state: 'detached', timeout: SHOWN_WITHIN })
  await pipeline.untilAccounted(32)
  await expectText('#hits', '26')
  await until(async () => (await watched.rows('#windows')).some(row => row[2] === '3'), SHOWN_WITHIN)

  expect(await watched.rows('#windows')).toEqual(
    (
      await stored(`select extract(epoch from window_start)::bigint::text, num_hits::text, late_hits::text,
        groups::text, status from traffic_windows order by window_start desc`)
    ).map(([seconds, ...rest]) => [formatWindow(Number(seconds) * 1000, SIZE), ...rest]),
  )
  expect(await ranking('referrers')).toEqual(
    await stored(`select case referrer when '' then 'none' else referrer end, sum(num_hits)::text
      from aggregated_web_traffic group by referrer order by sum(num_hits) desc, referrer`),
  )
  const countries: Record<string, string> = {
    '??': 'Unknown',
    US: 'United States (US)',
    NL: 'Netherlands (NL)',
  }
  expect(await ranking('countries')).toEqual(
    (
      await stored(`select country, sum(num_hits)::text from aggregated_web_traffic_by_country
        group by country order by sum(num_hits) desc, country`)
    ).map(([country, hits]) => [countries[country!], hits]),
  )
  expect(await ranking('rejected-reasons')).toEqual(
    await stored(`select reason, sum(records)::text from rejected_counts group by reason order by 2 desc, 1`),
  )

  await expectText('#partitions tfoot', '32')
  const late = await pipeline.query<{ hits: number }>(
    'select sum(num_hits)::int as hits from late_deltas group by kafka_partition order by kafka_partition',
  )
  const { partitions } = await pipeline.status()
  await until(
    async () =>
      isDeepStrictEqual(
        await partitionFigures(),
        partitions.map(({ partition, lag, records, hits, late: byWatermark, rejected }) => [
          partition,
          lag,
          records,
          hits,
          byWatermark,
          late[partition]!.hits,
          rejected,
        ]),
      ),
    SHOWN_WITHIN,
  )
  expect(await watched.text('#late')).toBe('3')
  expect(await watched.text('#lag')).toBe('0')
  expect(watched.violations).toEqual([])
}, 180_000)

/** For each partition: number, lag, records, hits, late events by watermark and in the range, rejected records. */
async function partitionFigures(): Promise<number[][]> {
  const rows = await watched.rows('#partitions')
  return rows.map(([partition, , lag, , , records, hits, late, lateInRange, rejected]) =>
    [partition, lag, records, hits, late!.split(' ')[0], lateInRange, rejected].map(text => figure(text!)),
  )
}

const LONG = `https://long.example/${'x'.repeat(10_000)}`
const HOSTILE = {
  markup: '<img src=x onerror="fetch(\'https://evil.example/\')"><script>alert(1)</script>',
  script: 'javascript:alert(document.domain)',
  data: 'data:text/html,<script>alert(1)</script>',
  template: '{{constructor.constructor("alert(1)")()}}${alert(1)}',
  turned: 'https://good.example/\u202egpj.exe\u2066\u200f',
  lines: 'a\u2028b\u0007c',
}

test('text from events is shown as text: it does not run, load anything or break the page', async () => {
  const start = await freshWindow()
  const host = '<b onmouseover=alert(1)>bold</b>'
  const referrers = [...Object.values(HOSTILE), LONG]
  const events = referrers.flatMap((referrer, i) => many(20 - i, { time: start + 1, referrer, host }))
  await send(...events)
  await pipeline.untilAccounted(events.length)
  const names = await pipeline.query<{ referrer: string; host: string }>(
    'select referrer, host from aggregated_web_traffic order by num_hits desc',
  )
  const cut = referrers.map(referrer => referrer.slice(0, MAX_REFERRER_LENGTH))
  expect(names.map(({ referrer }) => referrer)).toEqual(cut)

  for (const width of [1300, 380]) {
    watched = await WatchedPage.open(browser, dashboard.address, { viewport: { width, height: 900 } })
    const { page } = watched
    await until(async () => (await watched.rows('#referrers')).length === names.length, SHOWN_WITHIN)
    const shown = await page.locator('#referrers .name').allTextContents()
    expect(shown.slice(0, 4)).toEqual([HOSTILE.markup, HOSTILE.script, HOSTILE.data, HOSTILE.template])
    expect(shown[4]).toBe('https://good.example/\\u{202e}gpj.exe\\u{2066}\\u{200f}')
    expect(shown[5]).toBe('a\\u{2028}b\\u{7}c')
    expect(shown[6]).toBe(cut[6])
    expect(await page.locator('#legend .name').allTextContents()).toEqual([names[0]!.host])
    await page.locator('#windows .window-name').first().click()
    await page.locator('#window-detail .ranking').first().waitFor()
    expect(await page.locator('#window-detail .name').allTextContents()).toEqual(
      expect.arrayContaining([HOSTILE.markup, names[0]!.host]),
    )
    await page.locator('#timeline .slider').hover()
    await page.getByText('As a table').click()
    await page.locator('#timeline-table table').waitFor()
    await page.locator('#host').selectOption({ index: 1 })
    await until(() => watched.query.get('host') === names[0]!.host)
    await expectText('#hits', String(events.length))

    expect(await page.locator('img, script:not([src="main.js"]), b, iframe, main style').count()).toBe(0)
    const links = await page.evaluate<string[]>('[...document.links].map(link => link.href)')
    expect(links.length).toBeGreaterThan(1)
    for (const link of links)
      expect([dashboard.address, process.env.TEMPORAL_UI_URL].some(mine => link.startsWith(mine!))).toBe(true)
    const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
    expect(await page.evaluate(overflow)).toBe(0)
    expect(watched.violations).toEqual([])
    if (width > 1000) await watched.close()
  }

  // The checks above would notice a violation, and the policy blocks it.
  await watched.page.evaluate(
    `document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/x' }))`,
  )
  await until(() => watched.violations.some(what => what.startsWith('violation: img-src')))
  await expect(watched.page.evaluate(`document.body.innerHTML = '<p>'`)).rejects.toThrow('TrustedHTML')
}, 180_000)

test('range, host and window can be selected with the keyboard alone, and a window links to its workflow', async () => {
  const start = await freshWindow()
  await send(...many(7, { time: start + 1 }), ...many(3, { time: start + 2, host: 'b.example' }))
  await pipeline.untilAccounted(10)
  watched = await WatchedPage.open(browser, dashboard.address)
  const { page } = watched
  const { keyboard } = page
  await expectText('#hits', '10')

  await watched.tabTo('.skip')
  await watched.tabTo('#ranges input')
  expect(await page.locator('#ranges input:checked').getAttribute('value')).toBe('1h')
  await keyboard.press('ArrowRight')
  await until(() => watched.query.get('range') === '6h')
  await watched.tabTo('#host')
  await keyboard.press('b')
  await until(() => watched.query.get('host') === 'b.example')
  await expectText('#hits', '3')
  await keyboard.press('Home')
  await until(() => watched.query.get('host') === null)
  await expectText('#hits', '10')

  await watched.tabTo('.slider')
  const slider = page.locator('.slider')
  expect(await slider.getAttribute('aria-valuetext')).toBe(
    `${formatWindow(start, SIZE)}: 10 hits; a.example 7; b.example 3`,
  )
  expect(await page.locator('.tooltip').isVisible()).toBe(true)
  await keyboard.press('Enter')
  await until(() => watched.query.get('window') === new Date(start).toISOString())
  await expectText('#window-title', formatWindow(start, SIZE))
  expect(await page.evaluate('document.activeElement.id')).toBe('window-title')
  await expectText('#window-detail .facts', '10')

  await watched.tabTo('#window-detail a')
  const link = page.locator('#window-detail a')
  expect(await link.getAttribute('rel')).toBe('noopener noreferrer')
  const [workflow] = await Promise.all([page.context().waitForEvent('page'), keyboard.press('Enter')])
  const id = windowId(pipeline.config.settings.group, start)
  expect(id).toContain(formatInstant(start))
  await workflow.getByText(id).first().waitFor({ timeout: SHOWN_WITHIN })
  await workflow.close()

  await page.bringToFront()
  await link.focus()
  await keyboard.press('Escape')
  await until(() => watched.query.get('window') === null)
  const focused = page.locator('#windows button:focus')
  expect(await focused.innerText()).toBe(formatWindow(start, SIZE))
  await keyboard.press('Enter')
  await expectText('#window-title', formatWindow(start, SIZE))

  await page.locator('#custom summary').focus()
  await keyboard.press('Enter')
  await page.locator('#from').fill(new Date(start - SIZE).toISOString().slice(0, 19))
  await page.locator('#to').fill(new Date(start + SIZE).toISOString().slice(0, 19))
  await keyboard.press('Enter')
  await until(() => watched.query.get('to') === new Date(start + SIZE).toISOString())
  await expectText('#hits', '10')

  await page.reload()
  await expectText('#window-title', formatWindow(start, SIZE))
  expect(watched.query.get('from')).toBe(new Date(start - SIZE).toISOString())
  await page.goBack()
  expect(watched.violations.filter(what => !what.includes(process.env.TEMPORAL_UI_URL!))).toEqual([])
}, 180_000)
