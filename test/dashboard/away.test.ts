import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { windowStart } from '../../src/core/window/tumbling-window'
import { TestPipeline } from '../support/pipeline'
import { PostgresRelay } from '../support/postgres-relay'
import { until } from '../support/until'
import { openBrowser } from '../web-ui/browser'
import { DashboardProcess, WatchedPage } from './support'

const SIZE = 60_000
const W0 = windowStart(Date.now(), SIZE) - 60 * SIZE

/** Only the dashboard goes through these: the pipeline goes on meanwhile. */
const postgres = new PostgresRelay()
const temporal = new PostgresRelay(new URL(`tcp://${process.env.TEMPORAL_ADDRESS}`))
const kafka = new PostgresRelay(new URL(`tcp://${process.env.KAFKA_URL}`))
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
  const addressOf = (relay: PostgresRelay) => `127.0.0.1:${new URL(relay.url).port}`
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

const shows = (selector: string, text: string | RegExp) =>
  until(async () => {
    const shown = await watched.text(selector)
    return typeof text === 'string' ? shown === text : text.test(shown)
  }, 40_000).catch(async () => {
    throw new Error(`${selector} shows "${await watched.text(selector)}" instead of ${text}`)
  })

test('while Postgres, Temporal or Kafka is away the page says so, keeps what it has, and goes on when it is back', async () => {
  await sendWindow(0, 3)
  watched = await WatchedPage.open(browser, dashboard.address)
  await shows('#hits', '3')
  await shows('#pipeline', /running/)
  await shows('#lag', '0')
  await shows('#problems', '')

  await postgres.close()
  await shows(
    '#problems',
    /^Postgres: Postgres at .* is unreachable\. .*Its figures are of \d\d:\d\d:\d\d UTC\.$/,
  )
  await sendWindow(1, 4)
  await shows('#partitions tfoot', /7/)
  await watched.page.getByText('15 minutes').click()
  await shows('#timeline-note', /Postgres at .* is unreachable/)
  expect(await watched.text('#hits')).toBe('3')
  await postgres.open()
  await shows('#problems', '')
  await shows('#hits', '7')
  await shows('#timeline-note', /a bar is 1m/)

  await temporal.close()
  await shows('#problems', /^Pipeline: No Temporal server answers/)
  await sendWindow(2, 5)
  await shows('#hits', '12')
  await temporal.open()
  await shows('#problems', '')
  await shows('#partitions tfoot', /12/)

  await pipeline.killWorkers()
  await shows('#problems', /^Pipeline: No worker answers on the task queue/)
  pipeline.startWorker()
  await shows('#problems', '')

  expect(dashboard.runs).toBe(true)
  expect(watched.misdeeds).toEqual([])
}, 240_000)

test('a dashboard that begins while everything is away shows all of it once that is there', async () => {
  await sendWindow(0, 6)
  for (const relay of [postgres, temporal, kafka]) await relay.close()
  watched = await WatchedPage.open(browser, dashboard.address)
  await shows('#problems', /Pipeline: No Temporal server[^]*Kafka: No Kafka broker[^]*Postgres: No Postgres/)
  for (const relay of [postgres, temporal, kafka]) await relay.open()
  await shows('#hits', '6')
  await shows('#pipeline', /running/)
  await shows('#problems', '')
  expect(dashboard.runs).toBe(true)
  expect(watched.misdeeds).toEqual([])
}, 240_000)

test('Temporal is asked only while somebody watches, and once for all who do', async () => {
  await sendWindow(0, 1)
  const passedIn = async (milliseconds: number) => {
    const before = temporal.passed
    await sleep(milliseconds)
    return temporal.passed - before
  }
  watched = await WatchedPage.open(browser, dashboard.address)
  await shows('#pipeline', /running/)
  await shows('#hits', '1')
  const forOne = await passedIn(12_000)
  expect(forOne).toBeGreaterThan(1_000)

  const others = await Promise.all([1, 2, 3].map(() => WatchedPage.open(browser, dashboard.address)))
  await Promise.all(others.map(other => until(async () => (await other.text('#hits')) === '1')))
  expect(await passedIn(12_000)).toBeLessThan(1.7 * forOne)

  await Promise.all([...others, watched].map(page => page.close()))
  await sleep(1_000)
  expect(await passedIn(8_000)).toBeLessThan(500)
}, 240_000)
