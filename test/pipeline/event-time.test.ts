import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { afterEach, expect, test } from '@jest/globals'
import { packageRoot } from '../../src/package-root'
import { windowId } from '../../src/contract/ids'
import { withTemporal } from '../../src/temporal/connection'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

const MINUTE = 60_000
const WINDOW = 5 * MINUTE
/** Start of a window that is over, as are the three after it. */
const W0 = Math.floor((Date.now() - 60 * MINUTE) / WINDOW) * WINDOW
const W1 = W0 + WINDOW
const W2 = W1 + WINDOW

/** One record; `timestamp` is Kafka's, epoch ms, by default the time of sending. */
function event(partition: number, at: number, timestamp = Date.now()) {
  const value = JSON.stringify({ event_time: at, host: 'a.example', referrer: '', ip: '193.0.6.139' })
  return { partition, value, timestamp: String(timestamp) }
}

async function startPipeline(partitions: number, settings: Record<string, string> = {}) {
  pipeline = new TestPipeline(settings)
  await pipeline.begin(partitions)
  return pipeline.startWorker()
}

const windows = () => pipeline.db.selectFrom('traffic_windows').selectAll().orderBy('window_start').execute()

/** Waits until Temporal's list has exactly these windows for a query that docs/operations.md has. */
async function untilFound(which: string, starts: number[]): Promise<void> {
  const runbook = await readFile(join(packageRoot(), 'docs', 'operations.md'), 'utf8')
  const row = runbook.split('\n').find(line => line.startsWith(`| ${which} `))!
  const query = /`([^`]+)`/.exec(row)![1]!
  const { group } = pipeline.config.settings
  // The link asks the same.
  const link = new URL(/\((http[^)]+)\)/.exec(row)![1]!)
  expect(link.searchParams.get('query')).toBe(query)
  const expected = starts.map(start => windowId(group, start)).sort()
  await withTemporal(client =>
    until(async () => {
      const found: string[] = []
      const list = client.workflow.list({ query: query.replace('web_traffic_group', group) })
      for await (const { workflowId } of list) found.push(workflowId)
      return isDeepStrictEqual(found.sort(), expected)
    }),
  )
}

const lateHits = () =>
  pipeline.db.selectFrom('late_web_traffic').select(['window_start', 'num_hits', 'cause']).execute()

test('a silent partition, and one that never had a record, hold windows open until they are claimed idle; what comes later is late', async () => {
  const idleTimeout = 5_000
  await startPipeline(3, { IDLE_TIMEOUT: `${idleTimeout}ms` })
  const sent = Date.now()
  // By the second partition's watermark the first window is over; the first one has said nothing since, the third ever.
  await pipeline.send([event(0, W0), event(1, W0), event(1, W2)])
  await pipeline.untilAccounted(3)
  const closed = await windows()
  expect(closed.map(({ window_start, num_hits }) => [window_start.getTime(), num_hits])).toEqual([
    [W0, 2],
    [W2, 1],
  ])
  for (const { closed_at } of closed) expect(closed_at.getTime() - sent).toBeGreaterThanOrEqual(idleTimeout)

  // On time by its partition's watermark, which silence does not move: the window has closed without it.
  await pipeline.send([event(0, W0 + MINUTE)])
  await pipeline.untilAccounted(4)
  expect(await lateHits()).toEqual([{ window_start: new Date(W0), num_hits: 1, cause: 'closed' }])
  expect(await windows()).toMatchObject([{ num_hits: 2, late_hits: 1 }, { num_hits: 1 }])
  await untilFound('with events that came after they had closed', [W0])
  await untilFound('corrected', [])
}, 300_000)

test('a window that was corrected is found by the runbook, and so are those that are open', async () => {
  await startPipeline(1, { ALLOWED_LATENESS: '1h', IDLE_TIMEOUT: '1h' })
  await pipeline.send([event(0, W0), event(0, W2)])
  await untilFound('open', [W2])
  await untilFound('corrected', [])
  await pipeline.send([event(0, W0 + MINUTE)])
  await untilFound('corrected', [W0])
  expect(await windows()).toMatchObject([{ status: 'published', num_hits: 2, revision: 2 }])
}, 300_000)

test.each(['stopped', 'killed'])(
  'the watermark outlives a worker that is %s: what was late before is late after',
  async end => {
    const first = await startPipeline(1)
    // A minute and more past the end of the first window.
    await pipeline.send([event(0, W1 + MINUTE)])
    await pipeline.untilDone(1)
    await (end === 'stopped' ? pipeline.stopWorker(first) : pipeline.killWorker(first))
    pipeline.startWorker()
    // A poller that had forgotten would count it: no event of that window was seen before.
    await pipeline.send([event(0, W1 - 1)])
    await pipeline.untilAccounted(2)
    expect(await lateHits()).toEqual([{ window_start: new Date(W0), num_hits: 1, cause: 'watermark' }])
    expect(await windows()).toMatchObject([{ window_start: new Date(W1), num_hits: 1 }])
  },
  120_000,
)

test('an event ahead of its record by more than the bound is rejected, and none moves the watermark past its record', async () => {
  await startPipeline(1)
  const arrived = W1 + MINUTE / 2
  await pipeline.send([
    event(0, arrived + MINUTE + 1, arrived),
    event(0, arrived + MINUTE, arrived),
    // Late if that event, and not its arrival, had moved the watermark.
    event(0, W1 - 1, arrived),
    // A record that arrives a minute after the window's end does end it.
    event(0, W1 + MINUTE, W1 + MINUTE),
    event(0, W1 - 1, W1 + MINUTE),
  ])
  await pipeline.untilAccounted(5)
  expect(await pipeline.query('select reason, records from rejected_counts')).toEqual([
    { reason: 'future_event_time', records: '1' },
  ])
  expect(await pipeline.query('select kafka_offset from rejected_events')).toEqual([{ kafka_offset: '0' }])
  expect(await windows()).toMatchObject([{ num_hits: 1 }, { num_hits: 2 }])
  expect(await lateHits()).toEqual([{ window_start: new Date(W0), num_hits: 1, cause: 'watermark' }])
}, 300_000)

test('partitions that are added while it runs are read from their first record', async () => {
  await startPipeline(2)
  const lot = (partition: number, at: number) => Array.from({ length: 100 }, () => event(partition, at))
  await pipeline.send([...lot(0, W0), ...lot(1, W0)])
  await pipeline.untilAccounted(200)
  const { topic } = pipeline.config.settings
  await pipeline.withAdmin(admin => admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] }))
  await pipeline.send([...lot(2, W1), ...lot(3, W1)])
  await pipeline.untilAccounted(400)
  expect(await windows()).toMatchObject([{ num_hits: 200 }, { num_hits: 200 }])
  const { partitions, lag } = await pipeline.status()
  expect(lag).toBe(0)
  expect(partitions.map(({ records }) => records)).toEqual([100, 100, 100, 100])
}, 300_000)
