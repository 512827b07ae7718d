import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { ingestId, windowId } from '../../src/contract/ids'
import { formatInstant, windowStart } from '../../src/core/window/tumbling-window'
import { withTemporal } from '../../src/temporal/connection'
import { windowProgress } from '../../src/contract/messages'
import { TestPipeline } from '../support/pipeline'
import { Relay } from '../../trials/relay'
import { until } from '../support/until'
import { openBrowser } from './browser'

const MINUTE = 60_000
const SHOWN_WITHIN = 60_000
/** In the past, so that only the partitions decide when the window closes. */
const W0 = windowStart(Date.now(), 5 * MINUTE) - 120 * MINUTE
/** A referrer that tries to inject markup into the Web UI. */
const HOSTILE =
  'https://evil.example/|`<img src=x onerror=alert(1)>[click](https://evil.example/phish)\n# Owned'

const relay = new Relay()
let pipeline: TestPipeline
let browser: Browser
let page: Page

beforeAll(async () => {
  browser = await openBrowser()
}, 120_000)
afterAll(() => browser?.close())

beforeEach(async () => {
  await relay.open()
  pipeline = new TestPipeline({ POSTGRES_URL: relay.url, IDLE_TIMEOUT: '1h', LOG_LEVEL: 'error' })
  await pipeline.begin(2)
  pipeline.startWorker()
  page = await browser.newPage({ viewport: { width: 1400, height: 1100 } })
})
afterEach(async () => {
  await page.close()
  await relay.open()
  await pipeline.destroy()
  await relay.close()
})

/** Sends events to one partition, with event times in minutes after {@link W0}. */
const send = (partition: number, referrer: string, ...minutes: number[]) =>
  pipeline.send(
    minutes.map(minute => ({
      partition,
      value: JSON.stringify({
        event_time: W0 + minute * MINUTE,
        host: 'a.example',
        referrer,
        ip: '193.0.6.139',
      }),
    })),
  )

const address = (path: string) =>
  `${process.env.TEMPORAL_UI_URL}/namespaces/${process.env.TEMPORAL_NAMESPACE}/${path}`

const openWorkflow = (id: string) => page.goto(address(`workflows/${encodeURIComponent(id)}`))

const openList = (query: string) => page.goto(address(`workflows?query=${encodeURIComponent(query)}`))

const shown = (text: string) => page.getByText(text).first().waitFor({ timeout: SHOWN_WITHIN })

/** Opens the tab with the details of a workflow. */
async function openDetails(id: string): Promise<void> {
  await openWorkflow(id)
  await page.getByText('User Metadata').first().click({ timeout: SHOWN_WITHIN })
}

/** Waits for a text in the details, which the Web UI shows in separate frames. */
async function detail(text: string): Promise<void> {
  const texts = () =>
    Promise.all(
      page.frames().map(frame =>
        frame
          .locator('body')
          .innerText()
          .catch(() => ''),
      ),
    )
  await until(async () => (await texts()).some(shown => shown.includes(text)), SHOWN_WITHIN).catch(
    async () => {
      throw new Error(`The page does not show "${text}", only:\n${(await texts()).join('\n---\n')}`)
    },
  )
}

/** Text from events must not become a link, an image or a heading. */
async function expectNoInjection(): Promise<void> {
  for (const frame of page.frames()) {
    expect(await frame.locator('a[href*="evil.example"], img[src="x"]').count()).toBe(0)
    expect(await frame.getByRole('heading', { name: 'Owned' }).count()).toBe(0)
  }
}

test('the details of a window describe its state while it is open, while its write fails, and when it is closed', async () => {
  const { group } = pipeline.config.settings
  const window = windowId(group, W0)
  await send(0, HOSTILE, 1, 2)
  await send(0, '', 3, 30)
  await send(1, 'https://search.example/', 1)
  await withTemporal(async client => {
    const handle = client.workflow.getHandle(window)
    await until(async () => {
      const progress = await handle.query(windowProgress).catch(() => undefined)
      return progress?.state === 'open' && progress.hits === 4
    })
  })
  await pipeline.untilDone(4)

  await openDetails(window)
  await detail('is open')
  await detail('4 hits in 3 groups')
  await detail('shows which one is behind')
  await detail('https://evil.example/')
  await expectNoInjection()
  await openDetails(ingestId(group))
  await detail('in partition 1: watermark')
  await detail(`waits for ${formatInstant(W0 + 5 * MINUTE)}`)

  await relay.close()
  await send(1, '', 30)
  const failure = await pipeline.untilRetried(window, 'writeWindow')
  expect(failure).toMatch(/Postgres at .* is unreachable/)
  const stuck = `WindowStatus = 'stuck' AND Pipeline = '${group}'`
  await withTemporal(client => until(async () => (await client.workflow.count(stuck)).count === 1))
  await openList(stuck)
  await shown(window)
  await openDetails(window)
  await detail('it has tried to write revision 1')

  await relay.open()
  await withTemporal(client => client.workflow.getHandle(window).result())
  await openDetails(window)
  await detail('4 hits in 3 groups, written as revision 1.')
  await openList(stuck)
  await shown('No Workflows')
}, 180_000)
