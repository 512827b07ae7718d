import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from '@jest/globals'
import type { Client } from '@temporalio/client'
import { pollerId, windowId } from '../../src/contract/ids'
import { withTemporal } from '../../src/temporal/connection'
import { windowProgress, type WindowProgress } from '../../src/contract/messages'
import { TestPipeline } from '../support/pipeline'
import { Relay } from '../../trials/relay'
import { until } from '../support/until'

const MINUTE = 60_000
const WINDOW = 5 * MINUTE
const DAY = 24 * 60 * MINUTE
/** Start of a window that is over, as are the hundreds after it. */
const W0 = Math.floor((Date.now() - 7 * DAY) / WINDOW) * WINDOW
const startOf = (index: number) => W0 + index * WINDOW
const instant = (start: number) => new Date(start).toISOString().replace('.000', '')

const ACTIONS = ['terminate', 'cancel', 'reset', 'delete'] as const
type Action = (typeof ACTIONS)[number]

let pipeline: TestPipeline
const relay = new Relay()

afterEach(async () => {
  await pipeline.destroy()
  await relay.close().catch(() => undefined)
})

function event(at: number, partition = 0) {
  const event = { event_time: new Date(at).toISOString(), host: 'a.example', referrer: '', ip: '193.0.6.139' }
  return { partition, value: JSON.stringify(event) }
}

let sent = 0
/** An event of every second of a minute, from a minute of each window on, in partition 0; and what is no event. */
async function send(windows: number[], minute: number): Promise<void> {
  function* events() {
    for (const start of windows) {
      for (let second = 0; second < 60; second++) yield event(start + minute * MINUTE + second * 1_000)
      yield { partition: 0, value: 'no JSON' }
    }
  }
  sent += await pipeline.send(events())
  await pipeline.untilDone(sent)
}

/** Lets both partitions reach a time. */
async function reach(at: number): Promise<void> {
  sent += await pipeline.send([event(at + MINUTE, 0), event(at + MINUTE, 1)])
  await pipeline.untilDone(sent)
}

const idOf = (start: number) => windowId(pipeline.config.settings.group, start)

async function untilState(windows: number[], is: (progress: WindowProgress) => boolean): Promise<void> {
  await withTemporal(async client => {
    for (const start of windows)
      await until(async () => {
        const handle = client.workflow.getHandle(idOf(start))
        return handle.query(windowProgress).then(is, () => false)
      }, 90_000)
  })
}

/** Each of four windows is ended in another way. */
const endEach = (windows: number[]) =>
  withTemporal(async client => {
    for (const [i, action] of ACTIONS.entries()) await end(client, idOf(windows[i]!), action)
  })

async function end(client: Client, workflowId: string, action: Action): Promise<void> {
  const handle = client.workflow.getHandle(workflowId)
  if (action === 'terminate') await handle.terminate('by hand')
  if (action === 'cancel') await handle.cancel()
  const { namespace } = client.options
  const { runId } = await handle.describe()
  const workflowExecution = { workflowId, runId }
  if (action === 'delete')
    await client.workflowService.deleteWorkflowExecution({ namespace, workflowExecution })
  if (action !== 'reset') return
  const { events } = await handle.fetchHistory()
  const first = events!.find(event => event.workflowTaskCompletedEventAttributes)
  await client.workflowService.resetWorkflowExecution({
    namespace,
    workflowExecution,
    reason: 'by hand',
    workflowTaskFinishEventId: first!.eventId!,
    requestId: `${workflowId}/${String(first!.eventId)}`,
  })
}

const problems = async () =>
  JSON.parse((await pipeline.attempt('status', '--json')).stdout) as {
    problems: string[]
    windows: { open: number; closing: number }
  }

const closedWindows = () =>
  pipeline.query<{ hits: number }>(
    `select num_hits::int as hits from traffic_windows where status = 'closed' and late_hits = 0
       and window_start < '${instant(startOf(20))}' order by window_start`,
  )

/** Repairs whatever `status` names, as often as it takes, until all windows are closed and nothing is wrong. */
async function repairAll(within: number): Promise<string[]> {
  const repaired: string[] = []
  const deadline = Date.now() + within
  for (;;) {
    const status = await problems()
    const named = status.problems.flatMap(problem => /web-traffic repair (\S+Z)/.exec(problem)?.[1] ?? [])
    for (const window of named) {
      const { code, stdout, stderr } = await pipeline.attempt('repair', window)
      expect({ window, code, stderr, stdout }).toMatchObject({ code: 0 })
      repaired.push(window)
    }
    const { length } = await closedWindows()
    if (status.windows.closing + status.problems.length === 0 && length === 20) return repaired
    if (Date.now() > deadline) throw new Error(`not settled: ${length} closed, ${JSON.stringify(status)}`)
    await sleep(1_000)
  }
}

test('windows that are terminated, cancelled, reset or deleted, in any state and under traffic, are named and repaired exactly', async () => {
  await relay.open()
  pipeline = new TestPipeline({
    LOG_LEVEL: 'error',
    IDLE_TIMEOUT: '1h',
    ALLOWED_LATENESS: '1d',
    POSTGRES_URL: relay.url,
  })
  sent = 0
  await pipeline.begin(2)
  pipeline.startWorker()
  const windows = Array.from({ length: 20 }, (_, i) => startOf(i))
  const [published, closing, stuck, open, opening] = [0, 4, 8, 12, 16].map(i => windows.slice(i, i + 4)) as [
    number[],
    number[],
    number[],
    number[],
    number[],
  ]

  // Open, with more to come after each was ended.
  await send(windows.slice(0, 16), 0)
  await untilState(open, ({ state }) => state === 'open')
  await endEach(open)
  await send(open, 1)

  // Opening: Postgres does not answer whether they are closed.
  await relay.close()
  await send(opening, 0)
  await untilState(opening, ({ state }) => state === 'opening')
  await endEach(opening)
  await send(opening, 1)
  await relay.open()

  // Published, and corrected.
  await reach(startOf(4))
  await untilState(published, ({ state }) => state === 'published')
  await endEach(published)
  await send(published, 2)

  // Closing, and stuck at it: the others wait for a day more.
  await relay.close()
  await reach(startOf(12) + DAY)
  await untilState([...closing, ...stuck], ({ state, revision }) => state === 'closing' || revision > 0)
  await endEach(closing)
  await untilState(stuck, progress => progress.stuck !== undefined)
  await endEach(stuck)
  await relay.open()

  // Everything of before is over.
  await reach(startOf(80) + 4 * DAY)
  const repaired = await repairAll(200_000)
  // A cancel changes nothing, and a reset brings back what the server has of the signals.
  for (const states of [open, opening, published, closing, stuck])
    for (const i of [0, 3]) expect(repaired).toContain(instant(states[i]!))
  const hits = (await closedWindows()).map(window => window.hits)
  // By what was sent: a minute for each `send`, and the two events that moved the time into the fifth window.
  expect(hits).toEqual([
    ...[120, 120, 120, 120],
    ...[62, 60, 60, 60],
    ...[60, 60, 60, 60],
    ...Array<number>(8).fill(120),
  ])
  expect(await pipeline.query('select sum(records)::int as rejected from rejected_counts')).toEqual([
    { rejected: 32 },
  ])
  expect(await pipeline.query('select count(*)::int as staged from staged_deltas')).toEqual([{ staged: 0 }])
  const { code, stdout } = await pipeline.attempt('verify', '--to', instant(startOf(20)))
  expect({ code, stdout }).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('20 windows are right, 0 are not'),
  })

  // Nobody says that a poller was terminated: the ledger looks.
  await withTemporal(client =>
    client.workflow.getHandle(pollerId(pipeline.config.settings.group, 1)).terminate('by hand'),
  )
  sent += await pipeline.send([event(startOf(80) + 4 * DAY, 0)])
  await pipeline.untilDone(sent, 120_000)
}, 600_000)
