import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { windowStart } from '../../src/core/window/tumbling-window'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import { openBrowser } from '../web-ui/browser'
import { DashboardProcess, WatchedPage } from './support'

const axe = readFileSync(createRequire(__filename).resolve('axe-core/axe.min.js'), 'utf8')
const MINUTE = 60_000
const SIZE = 5 * MINUTE
const HOSTS = 9

let pipeline: TestPipeline
let dashboard: DashboardProcess
let browser: Browser

/** Windows with a result, an open one, late and rejected records: every part of the page has content. */
beforeAll(async () => {
  browser = await openBrowser()
  pipeline = new TestPipeline({ WINDOW_SIZE: '5m' })
  await pipeline.begin(1)
  pipeline.startWorker()
  const open = windowStart(Date.now(), SIZE)
  const times = [-6, -5, -4, -3, -6, 0].map(windows => open + windows * SIZE)
  const events = times.flatMap((time, i) =>
    Array.from({ length: 40 }, (_, n) => ({
      event_time: time + n,
      host: `host-${n % HOSTS}.example`,
      referrer: n % 3 === 0 ? '' : `https://site-${n % 13}.example/`,
      ip: ['193.0.6.139', '8.8.8.8', '10.0.0.1'][(n + i) % 3],
    })),
  )
  await pipeline.send([...events.map(event => ({ value: JSON.stringify(event) })), { value: 'no JSON' }])
  const { group } = pipeline.config.settings
  dashboard = await DashboardProcess.start({ KAFKA_GROUP: group, KAFKA_TOPIC: group, POSTGRES_DB: group })
  await until(async () => (await pipeline.query('select from window_results')).length === 4)
}, 180_000)
afterAll(async () => {
  await browser?.close()
  await dashboard?.end()
  await pipeline?.destroy()
})

interface Finding {
  id: string
  help: string
  nodes: { html: string; failureSummary: string }[]
}

async function open(colorScheme: 'light' | 'dark', width: number): Promise<WatchedPage> {
  const watched = await WatchedPage.open(browser, dashboard.address, {
    colorScheme,
    viewport: { width, height: 900 },
  })
  const { page } = watched
  await page.locator('.open-window').waitFor()
  await page.locator('#rejected-reasons tbody tr').first().waitFor()
  await page.locator('#windows .window-name').first().click()
  await page.locator('#window-detail .ranking').first().waitFor()
  await page.getByText('As a table').click()
  await page.getByText('From and to').click()
  await page.locator('.slider').focus()
  await page.locator('.tooltip').waitFor()
  return watched
}

test.each([
  ['light', 1400],
  ['dark', 1400],
  ['light', 400],
  ['dark', 400],
] as const)('in %s mode, %d pixels wide, axe finds no accessibility problem', async (scheme, width) => {
  const watched = await open(scheme, width)
  const { page } = watched
  await page.evaluate(axe)
  const findings = await page.evaluate<Finding[]>('axe.run().then(({ violations }) => violations)')
  expect(
    findings.map(({ id, help, nodes }) => ({
      id,
      help,
      nodes: nodes.map(node => [node.html, node.failureSummary]),
    })),
  ).toEqual([])
  // The same rules notice a missing label.
  await page.evaluate(`document.querySelector('label[for=host]').remove()`)
  const worse = await page.evaluate<Finding[]>('axe.run().then(({ violations }) => violations)')
  expect(worse.map(({ id }) => id)).toContain('select-name')
  expect(watched.violations).toEqual([])
  await watched.close()
})

/** Mean lightness of the background, from 0 to 255. */
const LIGHTNESS = `(() => {
  const rgb = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)
  return (rgb[0] + rgb[1] + rgb[2]) / 3
})()`

test('the page and its chart follow the light or dark mode of the system', async () => {
  const watched = await open('light', 1200)
  const { page } = watched
  const drawn = () => page.evaluate<string>(`document.querySelector('canvas').toDataURL()`)
  const light = await drawn()
  expect(await page.evaluate(LIGHTNESS)).toBeGreaterThan(200)
  await page.emulateMedia({ colorScheme: 'dark' })
  expect(await page.evaluate(LIGHTNESS)).toBeLessThan(60)
  await until(async () => (await drawn()) !== light, 5_000)
  await page.emulateMedia({ colorScheme: 'light' })
  await until(async () => (await drawn()) === light, 5_000)
  expect(watched.violations).toEqual([])
  await watched.close()
})

test('the table shows the figures of the chart, and the focus is visible', async () => {
  const watched = await open('light', 1200)
  const rows = await watched.rows('#timeline-table')
  expect(rows).toHaveLength(4)
  for (const [, all, ...layers] of rows) {
    expect(layers).toHaveLength(8)
    expect(layers.reduce((sum, hits) => sum + Number(hits), 0)).toBe(Number(all))
  }
  const [, host] = await watched.page.locator('#timeline-table th .name').allInnerTexts()
  expect(host).toMatch(/^host-\d\.example$/)
  const focusable = ['#ranges input', '#host', '.slider', '#legend button', '#older', '.open-window button']
  for (const selector of focusable) {
    await watched.tabTo(selector)
    const outline = `getComputedStyle(document.activeElement.matches('#ranges input')
      ? document.activeElement.nextElementSibling : document.activeElement).outlineStyle`
    expect({ selector, outline: await watched.page.evaluate(outline) }).toEqual({
      selector,
      outline: 'solid',
    })
  }
  await watched.close()
})

test('the page works in a browser with an invalid language, as under LANG=C', async () => {
  const watched = await WatchedPage.open(browser, dashboard.address, { language: 'en-US@posix' })
  await watched.page.locator('.open-window').waitFor({ timeout: 20_000 })
  await watched.page.locator('#rejected-reasons tbody tr').first().waitFor()
  expect(watched.violations).toEqual([])
  await watched.page.close()
})
