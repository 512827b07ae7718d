import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { windowStart } from '../../src/core/window/tumbling-window'
import { TestPipeline } from '../support/pipeline'
import { Relay } from '../../trials/relay'
import { until } from '../support/until'
import { openBrowser } from '../web-ui/browser'
import { DashboardProcess, WatchedPage } from './support'

const SIZE = 60_000
const W0 = windowStart(Date.now(), SIZE) - 60 * SIZE

/** Only the dashboard connects through these relays, so that the pipeline keeps running. */
const postgres = new Relay()
const temporal = new Relay(new URL(`tcp://${process.env.TEMPORAL_ADDRESS}`))
const kafka = new Relay(new URL(`tcp://${process.env.KAFKA_URL}`))
let pipeline: TestPipeline
let dashboard: DashboardProcess
let browser: Browser
let watched: WatchedPage

beforeAll(async () => {
  browser = await openBrowser()
}, 120_000)
afterAll(() => browser?.close())

beforeEach(async () => {
  sent = 0
  for (const relay of [postgres, temporal, kafka]) await relay.open()
  pipeline = new TestPipeline({ WINDOW_SIZE: '1m', WATERMARK_DELAY: '1s' })
  await pipeline.begin(1)
  pipeline.startWorker()
  const { group } = pipeline.config.settings
  const addressOf = (relay: Relay) => `127.0.0.1:${new URL(relay.url).port}`
  dashboard = await DashboardProcess.start({
    KAFKA_GROUP: group,
    KAFKA_TOPIC: group,
    POSTGRES_DB: group,
    POSTGRES_URL: postgres.url,
    TEMPORAL_ADDRESS: addressOf(temporal),
    KAFKA_URL: addressOf(kafka),
  })
})
afterEach(async () => {
  await watched?.close()
  expect(await dashboard.end()).toBe(0)
  for (const relay of [postgres, temporal, kafka]) {
    await relay.open()
    await relay.close()
  }
  await pipeline.destroy()
})

let sent = 0
async function sendWindow(window: number, events: number): Promise<void> {
  const value = JSON.stringify({ event_time: W0 + window * SIZE, host: 'a.example', ip: '8.8.8.8' })
  sent += await pipeline.send(Array.from({ length: events }, () => ({ value })))
  await pipeline.untilAccounted(sent)
}

const expectText = (selector: string, text: string | RegExp) =>
  until(async () => {
    const shown = await watched.text(selector)
    return typeof text === 'string' ? shown === text : text.test(shown)
  }, 40_000).catch(async () => {
    throw new Error(`${selector} shows "${await watched.text(selector)}" instead of ${text}`)
  })

test('during an outage of Postgres, Temporal or the workers the page says so and keeps its figures, and then resumes', async () => {
  await sendWindow(0, 3)
  watched = await WatchedPage.open(browser, dashboard.address)
  await expectText('#hits', '3')
  await expectText('#pipeline', /running/)
  await expectText('#lag', '0')
  await expectText('#problems', '')

  await postgres.close()
  await expectText(
    '#problems',
    /^Postgres: Postgres at .* is unreachable\. .*The figures are from \d\d:\d\d:\d\d UTC\.$/,
  )
  await sendWindow(1, 4)
  await expectText('#partitions tfoot', /7/)
  await watched.page.getByText('15 minutes').click()
  await expectText('#timeline-note', /Postgres at .* is unreachable/)
  expect(await watched.text('#hits')).toBe('3')
  await postgres.open()
  await expectText('#problems', '')
  await expectText('#hits', '7')
  await expectText('#timeline-note', /one bar is 1m/)

  await temporal.close()
  await expectText('#problems', /^Pipeline: No Temporal server answers/)
  await sendWindow(2, 5)
  await expectText('#hits', '12')
  await temporal.open()
  await expectText('#problems', '')
  await expectText('#partitions tfoot', /12/)

  await pipeline.killWorkers()
  await expectText(
    '#problems',
    /^Pipeline: The ledger does not answer, though .* If it has ended, start one with/,
  )
  pipeline.startWorker()
  await expectText('#problems', '')

  expect(dashboard.runs).toBe(true)
  expect(watched.violations).toEqual([])
}, 240_000)

test('a dashboard started during an outage of every server shows everything once they are back', async () => {
  await sendWindow(0, 6)
  for (const relay of [postgres, temporal, kafka]) await relay.close()
  watched = await WatchedPage.open(browser, dashboard.address)
  await expectText(
    '#problems',
    /Pipeline: No Temporal server[^]*Kafka: No Kafka broker[^]*Postgres: Postgres at/,
  )
  for (const relay of [postgres, temporal, kafka]) await relay.open()
  await expectText('#hits', '6')
  await expectText('#pipeline', /running/)
  await expectText('#problems', '')
  expect(dashboard.runs).toBe(true)
  expect(watched.violations).toEqual([])
}, 240_000)

test('the dashboard queries Temporal only while a page is open, and once for all pages', async () => {
  await sendWindow(0, 1)
  const passedIn = async (milliseconds: number) => {
    const before = temporal.passed
    await sleep(milliseconds)
    return temporal.passed - before
  }
  watched = await WatchedPage.open(browser, dashboard.address)
  await expectText('#pipeline', /running/)
  await expectText('#hits', '1')
  const forOne = await passedIn(12_000)
  expect(forOne).toBeGreaterThan(1_000)

  const others = await Promise.all([1, 2, 3].map(() => WatchedPage.open(browser, dashboard.address)))
  await Promise.all(others.map(other => until(async () => (await other.text('#hits')) === '1')))
  expect(await passedIn(12_000)).toBeLessThan(1.7 * forOne)

  await Promise.all([...others, watched].map(page => page.close()))
  await sleep(1_000)
  expect(await passedIn(8_000)).toBeLessThan(500)
}, 240_000)
