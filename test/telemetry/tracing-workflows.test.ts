import { randomUUID } from 'node:crypto'
import { Context } from '@temporalio/activity'
import { Client, type WorkflowClientInterceptor } from '@temporalio/client'
import { defaultPayloadConverter, type Headers } from '@temporalio/common'
import type { TestWorkflowEnvironment } from '@temporalio/testing'
import { Worker, type InjectedSinks } from '@temporalio/worker'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { TemporalPort } from '../../src/activities/pipeline-port'
import type { Delta } from '../../src/core/window/protocol'
import { ingestId, pollerTaskQueue, windowId } from '../../src/contract/ids'
import { windowStart } from '../../src/core/window/tumbling-window'
import type { ingest } from '../../src/workflows/ingest'
import { addDeltas, closeWindow, windowProgress } from '../../src/contract/messages'
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
import { TRACE_HEADER, type TracingSinks, type WorkflowSpan } from '../../src/contract/tracing'

const taskQueue = `test-${randomUUID()}`
const W0 = windowStart(Date.UTC(2026, 0, 1, 12), 5 * MINUTE)
const stores = new Map<string, MemorySink>()
const spans: (WorkflowSpan & { workflowId: string; runId: string })[] = []
const sinks: InjectedSinks<TracingSinks> = {
  tracing: {
    ended: { fn: ({ workflowId, runId }, span) => void spans.push({ ...span, workflowId, runId }) },
  },
}
const spansOf = (workflowId: string, name: string) =>
  spans.filter(span => span.workflowId === workflowId && span.name === name)

/** The trace context that each activity received. */
const received: { workflowId: string; activity: string; traceparent: string | undefined }[] = []

let environment: TestWorkflowEnvironment
let workers: Worker[]
let running: Promise<unknown>

/** The trace context of the next calls; none if undefined. */
let traceparent: unknown
let traces = 0
const newTrace = () => `00-${String(++traces).padStart(32, 'a')}-${'b'.repeat(16)}-01`

const withTrace = <Input extends { headers: Headers }>(input: Input): Input =>
  traceparent === undefined
    ? input
    : { ...input, headers: { [TRACE_HEADER]: defaultPayloadConverter.toPayload({ traceparent }) } }
const tracing: WorkflowClientInterceptor = {
  startWithDetails: (input, next) => next(withTrace(input)),
  signalWithStart: (input, next) => next(withTrace(input)),
  signal: (input, next) => next(withTrace(input)),
  startUpdate: (input, next) => next(withTrace(input)),
}
let client: Client

beforeAll(async () => {
  quietRuntime()
  environment = await createEarlyServer()
  const connection = environment.nativeConnection
  client = new Client({ connection: environment.connection, interceptors: { workflow: [tracing] } })
  const pollKafka = async () => {
    await Context.current().cancelled.catch(() => undefined)
    return { reason: 'drained', records: 0 }
  }
  workers = [
    await Worker.create({
      connection,
      taskQueue,
      workflowBundle: await bundleWorkflows(),
      activities: sinkActivities(stores),
      sinks,
      interceptors: {
        activity: [
          ({ info }) => ({
            inbound: {
              execute(input, next) {
                const header = input.headers[TRACE_HEADER]
                const { workflowId } = info.workflowExecution!
                received.push({
                  workflowId,
                  activity: info.activityType,
                  traceparent:
                    header &&
                    defaultPayloadConverter.fromPayload<{ traceparent: string }>(header).traceparent,
                })
                return next(input)
              },
            },
          }),
        ],
      },
    }),
    await Worker.create({
      connection,
      taskQueue: pollerTaskQueue(taskQueue),
      activities: { pollKafka },
    }),
  ]
  running = Promise.all(workers.map(worker => worker.run()))
}, 120_000)

afterAll(async () => {
  for (const worker of workers) worker.shutdown()
  await running
  await environment.teardown()
})

function newPipeline() {
  const settings = newSettings()
  stores.set(settings.group, new MemorySink())
  const send = (...deltas: Delta[]) =>
    client.workflow.signalWithStart<typeof window, [Delta[]]>('window', {
      workflowId: windowId(settings.group, W0),
      taskQueue,
      args: [{ settings, start: W0 }],
      signal: addDeltas,
      signalArgs: [deltas],
    })
  return { settings, send }
}

const closed = async (settings: { group: string }) => {
  const handle = client.workflow.getHandle(windowId(settings.group, W0))
  await handle.signal(closeWindow)
  await handle.result()
  await until(() => spansOf(handle.workflowId, 'RunWorkflow:window').length > 0)
  return handle
}

/** The span id of a run is the second half of its run id, a UUID. */
const spanIdOf = (runId: string) => runId.replaceAll('-', '').slice(16)

test('each run of a window is the child of the previous run', async () => {
  const { settings, send } = newPipeline()
  const first = (traceparent = newTrace())
  const { workflowId } = await send(newDelta(0, 0, 0))
  const latest = client.workflow.getHandle(workflowId)
  const { runId } = await latest.describe()
  for (let n = 1; (await latest.describe()).runId === runId; n++) {
    traceparent = newTrace()
    await send(newDelta(0, n, n))
  }
  traceparent = newTrace()
  await closed(settings)
  // A run reports its end again if the server refused the completion because of a new signal.
  const runs = () => new Map(spansOf(workflowId, 'RunWorkflow:window').map(span => [span.id, span]))
  await until(() => runs().size === 2)
  const [before, after] = runs().values()
  expect(before).toMatchObject({ runId, id: spanIdOf(runId), parent: first, failed: false })
  const trace = first.slice(0, '00-'.length + 32)
  expect(after).toMatchObject({ id: spanIdOf(after!.runId), parent: `${trace}-${before!.id}-01` })
  expect(after!.runId).not.toBe(runId)
  expect(received.filter(call => call.workflowId === workflowId)).toEqual([
    { workflowId, activity: 'openWindow', traceparent: `${trace}-${before!.id}-01` },
    { workflowId, activity: 'writeWindow', traceparent: `${trace}-${after!.id}-01` },
  ])
  expect(after!.links!.at(-1)).toEqual({ signal: 'close', traceparent })
}, 60_000)

test('a window that was opened without tracing belongs to the first trace that reaches it', async () => {
  const { settings, send } = newPipeline()
  traceparent = undefined
  const { workflowId } = await send(newDelta(0, 0, 0))
  await until(() => received.some(call => call.workflowId === workflowId))
  const second = (traceparent = newTrace())
  await send(newDelta(0, 1, 1))
  traceparent = undefined
  await closed(settings)
  expect(spansOf(workflowId, 'RunWorkflow:window')).toMatchObject([{ parent: second, links: [] }])
  const calls = received.filter(call => call.workflowId === workflowId)
  expect(calls.map(call => call.traceparent?.slice(3, 35))).toEqual([undefined, second.slice(3, 35)])
})

test('an invalid trace context is ignored', async () => {
  for (const garbage of ['', '01-nonsense', 7, { deep: true }]) {
    const { settings, send } = newPipeline()
    traceparent = garbage
    const { workflowId } = await send(newDelta(0, 0, 9))
    const handle = client.workflow.getHandle(workflowId)
    expect((await handle.query(windowProgress)).hits).toBe(10)
    await handle.signal(closeWindow)
    await handle.result()
    expect(spansOf(workflowId, 'RunWorkflow:window')).toEqual([])
    expect(stores.get(settings.group)!.writes).toHaveLength(1)
  }
})

test('only the first run of the ledger is in the trace of its start, and each flush is in its own', async () => {
  const { settings } = newPipeline()
  const workflowId = ingestId(settings.group)
  const started = (traceparent = newTrace())
  await client.workflow.start<typeof ingest>('ingest', {
    workflowId,
    taskQueue,
    args: [{ settings, taskQueue, pollers: 1, startPositions: {} }],
  })
  const handle = client.workflow.getHandle(workflowId)
  const { runId } = await handle.describe()
  const port = new TemporalPort(
    client,
    NO_STAGING,
    { settings, poller: 1, taskQueue },
    new AbortController().signal,
  )
  traceparent = newTrace()
  await port.claim({ poller: 1, partitionCount: 1, partitions: [{ partition: 0, earliest: 0 }] })
  const parents: unknown[] = []
  const handledBy = () => new Set(spansOf(workflowId, 'HandleUpdate:flush').map(span => span.runId))
  for (let n = 0; handledBy().size < 2; n++) {
    parents.push((traceparent = newTrace()))
    const announce = { from: n, to: n + 1, windows: [W0] }
    const done = { to: n, basis: W0, totals: { records: 1, hits: 1, late: 0, rejected: 0 } }
    const flush = { partition: 0, epoch: 1, announce, ...(n > 0 && { done }) }
    await port.flush({ poller: 1, partitionCount: 1, partitions: [flush] })
  }
  await until(() => spansOf(workflowId, 'HandleUpdate:flush').length >= parents.length)
  expect(spansOf(workflowId, 'RunWorkflow:ingest')).toMatchObject([{ runId, parent: started }])
  const [poller] = spansOf(`${settings.group}/poller/1`, 'RunWorkflow:poller')
  expect(poller!.parent).toBe(`${started.slice(0, 35)}-${spanIdOf(runId)}-01`)
  const updates = spansOf(workflowId, 'HandleUpdate:flush')
  expect(new Set(updates.map(({ parent }) => parent))).toEqual(new Set(parents))
  await handle.terminate()
  await client.workflow.getHandle(`${settings.group}/poller/1`).terminate()
}, 60_000)
