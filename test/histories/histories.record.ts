import { readdirSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { Context } from '@temporalio/activity'
import type { Client, WorkflowHandle } from '@temporalio/client'
import { temporal } from '@temporalio/proto'
import type { TestWorkflowEnvironment } from '@temporalio/testing'
import { Worker } from '@temporalio/worker'
import { afterAll, beforeAll, describe, test } from '@jest/globals'
import { TemporalPort } from '../../src/activities/pipeline-port'
import type { Delta } from '../../src/core/window/protocol'
import { ingestId, pollerId, pollerTaskQueue, repairId, windowId } from '../../src/contract/ids'
import type { PipelineSettings } from '../../src/core/settings'
import { windowStart } from '../../src/core/window/tumbling-window'
import type { ingest } from '../../src/workflows/ingest'
import {
  acceptLog,
  addDeltas,
  closeWindow,
  ingestStatus,
  publishWindow,
  retry,
  scale,
  windowProgress,
  type WindowProgress,
} from '../../src/contract/messages'
import type { window } from '../../src/workflows/window'
import { NO_STAGING } from '../activities/support'
import { until } from '../support/until'
import {
  bundleWorkflows,
  createEarlyServer,
  MemorySink,
  MINUTE,
  newDelta,
  newSettings,
  quietRuntime,
  sinkActivities,
} from '../workflows/support'
import { tableActivities, W0 } from './table-activities'

/**
 * `npm run histories` records what `histories.test.ts` replays, on a server that suggests continuing as new early. A
 * change of steps gets new histories: `npm run histories -- -t 'books'`. Replace or delete old ones only when no run
 * that took the old steps can still be open. The histories of `piece` and `exceptions` can no longer be recorded.
 */
const FOLDER = join(__dirname, 'recorded')
const taskQueue = 'web_traffic_group'
const sinks = new Map<string, MemorySink>()
const never = new AbortController().signal

let environment: TestWorkflowEnvironment
let client: Client
let workers: Worker[]
let running: Promise<unknown>

beforeAll(async () => {
  quietRuntime()
  environment = await createEarlyServer()
  client = environment.client
  const connection = environment.nativeConnection
  const pollKafka = async () => {
    const context = Context.current()
    const beat = setInterval(() => context.heartbeat(), 500)
    await context.cancelled.catch(() => clearInterval(beat))
    return { reason: 'drained', records: 0 }
  }
  workers = [
    await Worker.create({
      connection,
      taskQueue,
      workflowBundle: await bundleWorkflows(),
      activities: {
        ...sinkActivities(sinks),
        ...tableActivities,
      },
    }),
    await Worker.create({
      connection,
      taskQueue: pollerTaskQueue(taskQueue),
      activities: { pollKafka },
      maxHeartbeatThrottleInterval: 500,
    }),
  ]
  running = Promise.all(workers.map(worker => worker.run()))
}, 120_000)

afterAll(async () => {
  for (const worker of workers) worker.shutdown()
  await running
  await environment.teardown()
  console.log(`recorded: ${readdirSync(FOLDER).join(', ')}`)
})

/** Stores a history as compressed protobuf, without the machine's name. */
async function keep(name: string, handle: WorkflowHandle): Promise<void> {
  const history = await handle.fetchHistory()
  if (!history.events?.some(event => event.workflowTaskCompletedEventAttributes))
    throw new Error(`${name} has no completed workflow task yet`)
  forgetMachine(history)
  const encoded = temporal.api.history.v1.History.encode(history).finish()
  writeFileSync(join(FOLDER, `${name}.pb.gz`), gzipSync(encoded))
}

/** Names of workers and of their sticky task queues contain the host name. */
function forgetMachine(node: object): void {
  for (const [key, value] of Object.entries(node) as [string, unknown][]) {
    if (typeof value === 'string' && value.includes(hostname())) Object.assign(node, { [key]: 'worker' })
    else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)) forgetMachine(value)
  }
}

function newPipeline(fields: Partial<PipelineSettings> = {}) {
  const settings = newSettings(fields)
  const sink = new MemorySink()
  sinks.set(settings.group, sink)
  const send = (start: number, ...deltas: Delta[]) =>
    client.workflow.signalWithStart<typeof window, [Delta[]]>('window', {
      workflowId: windowId(settings.group, start),
      taskQueue,
      args: [{ settings, start }],
      signal: addDeltas,
      signalArgs: [deltas],
    })
  return { settings, sink, send }
}

const latest = (handle: WorkflowHandle) => client.workflow.getHandle(handle.workflowId)

test('window: closed, with a repeat and a delta after it closed', async () => {
  const { sink, send } = newPipeline()
  const first = await send(W0, newDelta(0, 0, 3), newDelta(1, 0, 9))
  await send(W0, newDelta(0, 0, 3))
  let released!: () => void
  const gate = new Promise<void>(resolve => (released = resolve))
  sink.before.writeWindow = () => gate
  await first.signal(closeWindow)
  await until(() => sink.attempts.writeWindow > 0)
  await send(W0, newDelta(1, 10, 12))
  released()
  await first.result()
  await keep('window-closed', first)
  const again = await send(W0, newDelta(1, 13, 14), newDelta(1, 10, 12))
  await again.result()
  await keep('window-closed-before', again)
})

test('window: live, with the timer of its end', async () => {
  const { send } = newPipeline({ windowSize: 2_000, watermarkDelay: 500 })
  const handle = await send(windowStart(Date.now(), 2_000), newDelta(0, 0, 3))
  await handle.signal(closeWindow)
  await handle.result()
  await keep('window-live', handle)
})

test('window: published, corrected, continued as new, and closed', async () => {
  const { sink, send } = newPipeline({ allowedLateness: 1_000 })
  const first = await send(W0, newDelta(0, 0, 3))
  await first.signal(publishWindow)
  await until(() => sink.writes.length === 1)
  for (let offset = 4; offset < 24; offset++) await send(W0, newDelta(0, offset, offset))
  await until(() => sink.writes.at(-1)?.hits === 24)
  await until(async () => (await latest(first).describe()).runId !== first.signaledRunId)
  await latest(first).signal(closeWindow)
  await latest(first).result()
  await keep('window-corrected', client.workflow.getHandle(first.workflowId, first.signaledRunId))
  await keep('window-corrected-next-run', latest(first))
}, 180_000)

test('ingest and poller: started, claimed, flushed, windows closed, continued as new, scaled down', async () => {
  const { settings, send } = newPipeline()
  const port = new TemporalPort(client, NO_STAGING, { settings, poller: 1, taskQueue }, never)
  const handle = await client.workflow.start<typeof ingest>('ingest', {
    workflowId: ingestId(settings.group),
    taskQueue,
    args: [{ settings, taskQueue, pollers: 2, startPositions: {} }],
  })
  await until(async () => (await handle.query(ingestStatus)).running.length === 2)
  await port.claim({ poller: 1, partitionCount: 1, partitions: [{ partition: 0, earliest: 0 }] })
  const flush = (from: number, basis: number, windows: number[]) => {
    const totals = { records: 10, hits: 10, late: 0, rejected: 0 }
    const done = from > 0 ? { done: { to: from, basis, totals } } : {}
    const announce = { from, to: from + 10, windows }
    return port.flush({
      poller: 1,
      partitionCount: 1,
      partitions: [{ partition: 0, epoch: 1, ...done, announce }],
    })
  }
  await flush(0, W0, [W0])
  await send(W0, newDelta(0, 0, 9))
  for (let n = 1; n < 30; n++) await flush(10 * n, W0 + n * MINUTE, [W0 + (n + 5) * 5 * MINUTE])
  await until(async () => (await latest(handle).describe()).runId !== handle.firstExecutionRunId)
  const { runId } = await latest(handle).describe()
  await latest(handle).executeUpdate(scale, { args: [0] })
  await until(async () => (await handle.query(ingestStatus)).running.length === 0)
  await keep('ingest', client.workflow.getHandle(handle.workflowId, handle.firstExecutionRunId))
  await keep('ingest-next-run', client.workflow.getHandle(handle.workflowId, runId))
  await keep('poller', client.workflow.getHandle(pollerId(settings.group, 1)))
  await latest(handle).terminate()
}, 180_000)

test('replay, verify, recover and maintain', async () => {
  const { settings } = newPipeline()
  const inputs = {
    replay: { settings, selection: {}, includeLate: false },
    verify: { settings, selection: {} },
    recover: { settings, since: W0 },
    maintain: { settings, retention: null },
  }
  for (const [type, input] of Object.entries(inputs)) {
    const workflowId = `${settings.group}/${type}/recorded`
    const handle = await client.workflow.start(type, { workflowId, taskQueue, args: [input] })
    await handle.result()
    await keep(type, handle)
  }
})

describe('books', () => {
  const rejecting = (delta: Delta): Delta => ({
    ...delta,
    exceptions: {
      records: 2,
      late: [],
      rejected: { invalid_json: 2 },
      samples: [[delta.first, 'invalid_json']],
    },
  })

  test('of the ledger: windows settled, one started because none was running, another log accepted', async () => {
    const { settings, send } = newPipeline()
    const port = new TemporalPort(client, NO_STAGING, { settings, poller: 1, taskQueue }, never)
    const handle = await client.workflow.start<typeof ingest>('ingest', {
      workflowId: ingestId(settings.group),
      taskQueue,
      args: [{ settings, taskQueue, pollers: 1, startPositions: {} }],
    })
    await until(async () => (await handle.query(ingestStatus)).running.length === 1)
    await port.claim({ poller: 1, partitionCount: 1, partitions: [{ partition: 0, earliest: 0 }] })
    const flush = (from: number, basis: number, windows: number[]) => {
      const totals = { records: 12, hits: 10, late: 0, rejected: 2 }
      const done = from > 0 ? { done: { to: from, basis, totals } } : {}
      const [hits, exceptions] = [windows.map(() => 10), windows.map(() => 2)]
      const announce = { from, to: from + 12, windows, hits, exceptions }
      return port.flush({
        poller: 1,
        partitionCount: 1,
        partitions: [{ partition: 0, epoch: 1, ...done, announce }],
      })
    }
    // The first window is complete; nothing ever arrives for the second.
    await flush(0, W0, [W0])
    const settles = await send(W0, rejecting(newDelta(0, 0, 9)))
    await flush(12, W0 + MINUTE, [W0 + 5 * MINUTE])
    await flush(24, W0 + 11 * MINUTE, [W0 + 15 * MINUTE])
    await flush(36, W0 + 12 * MINUTE, [W0 + 15 * MINUTE])
    await settles.result()
    const closing = async () => (await handle.query(ingestStatus)).ledger.books?.closing ?? []
    await until(async () => (await closing()).some(({ balance }) => balance !== undefined))
    await handle.executeUpdate(acceptLog, { args: [{}] })
    await keep('window-books', settles)
    await keep('window-incomplete', client.workflow.getHandle(windowId(settings.group, W0 + 5 * MINUTE)))
    await keep('ingest-books', client.workflow.getHandle(handle.workflowId, handle.firstExecutionRunId))
    await client.workflow.getHandle(windowId(settings.group, W0 + 5 * MINUTE)).terminate()
    await latest(handle).terminate()
  }, 180_000)

  test('of a window that stages pieces and is repaired', async () => {
    const { settings, sink, send } = newPipeline()
    const large = (n: number) => ({
      ...newDelta(0, n * 10, n * 10 + 5),
      referrers: [`${n}${'x'.repeat(300_000)}`],
    })
    const staging = await send(W0, large(0))
    for (let n = 1; n < 5; n++) await send(W0, large(n))
    await latest(staging).signal(closeWindow, [{ book: 1, hits: 40, exceptions: 0 }])
    await until(
      async () => (await latest(staging).query<WindowProgress>(windowProgress.name)).stuck !== undefined,
    )
    sink.closedBefore(W0, 1, [{ partition: 0, from: 0, basis: null, last: 49 }])
    await latest(staging).signal(retry)
    await latest(staging).result()
    await keep('window-staged', client.workflow.getHandle(staging.workflowId, staging.signaledRunId))
    const repair = await client.workflow.start('repair', {
      workflowId: repairId(settings.group, W0),
      taskQueue,
      args: [{ settings, start: W0, acceptLoss: false }],
    })
    await repair.result()
    await keep('repair', repair)
  }, 180_000)
})
