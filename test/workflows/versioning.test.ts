import { randomUUID } from 'node:crypto'
import { Client, Connection, type WorkflowHandle } from '@temporalio/client'
import { NativeConnection, Worker } from '@temporalio/worker'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { TemporalPort } from '../../src/activities/pipeline-port'
import { ingestId, windowId } from '../../src/contract/ids'
import { versioning } from '../../src/workers/worker'
import type { ingest } from '../../src/workflows/ingest'
import { addDeltas, closeWindow } from '../../src/contract/messages'
import type { window } from '../../src/workflows/window'
import { NO_STAGING } from '../activities/support'
import { until } from '../support/until'
import {
  bundleWorkflows,
  MemorySink,
  MINUTE,
  newDelta,
  newSettings,
  quietRuntime,
  sinkActivities,
} from './support'

const settings = newSettings()
const taskQueue = settings.group
const W0 = Date.UTC(2026, 0, 1, 12)
const never = new AbortController().signal

let connection: Connection
let nativeConnection: NativeConnection
let client: Client
const workers: Worker[] = []
const running: Promise<void>[] = []

beforeAll(async () => {
  quietRuntime()
  const address = process.env.TEMPORAL_ADDRESS!
  connection = await Connection.connect({ address })
  nativeConnection = await NativeConnection.connect({ address })
  client = new Client({ connection })
}, 180_000)

afterAll(async () => {
  await client.workflow.getHandle(ingestId(settings.group)).terminate()
  for (const worker of workers) worker.shutdown()
  await Promise.all(running)
  await nativeConnection.close()
  await connection.close()
})

async function deploy(buildId: string): Promise<void> {
  const worker = await Worker.create({
    connection: nativeConnection,
    taskQueue,
    workflowBundle: await bundleWorkflows(),
    activities: sinkActivities(new Map([[settings.group, sink]])),
    ...versioning({ settings, buildId }),
  })
  workers.push(worker)
  running.push(worker.run())
  // The server knows a build once its worker has polled.
  await until(async () => {
    const current = { namespace: 'default', deploymentName: settings.group, buildId, identity: randomUUID() }
    return connection.workflowService.setWorkerDeploymentCurrentVersion(current).then(
      () => true,
      () => false,
    )
  })
}

const sink = new MemorySink()

function send(start: number, first: number) {
  return client.workflow.signalWithStart<typeof window, [ReturnType<typeof newDelta>[]]>('window', {
    workflowId: windowId(settings.group, start),
    taskQueue,
    args: [{ settings, start }],
    signal: addDeltas,
    signalArgs: [[newDelta(0, first, first)]],
  })
}

/** The builds that ran the workflow's tasks, in order. */
async function buildsOf(handle: WorkflowHandle): Promise<string[]> {
  const { events } = await handle.fetchHistory()
  const builds = (events ?? [])
    .map(event => event.workflowTaskCompletedEventAttributes?.deploymentVersion?.buildId)
    .filter(build => build !== undefined && build !== null)
  return builds.filter((build, i) => build !== builds[i - 1])
}

test('a window ends on the build that started it; the ledger moves to the new build', async () => {
  await deploy('a')
  const ledger = await client.workflow.start<typeof ingest>('ingest', {
    workflowId: ingestId(settings.group),
    taskQueue,
    args: [{ settings, taskQueue, pollers: 0, startPositions: {} }],
  })
  const port = new TemporalPort(client, NO_STAGING, { settings, poller: 1, taskQueue }, never)
  const claim = () =>
    port.claim({ poller: 1, partitionCount: 1, partitions: [{ partition: 0, earliest: 0 }] })
  await claim()
  const open = await send(W0, 0)
  await until(async () => (await buildsOf(open)).length > 0)

  await deploy('b')
  await send(W0, 1)
  const begun = await send(W0 + 5 * MINUTE, 0)
  await until(async () => {
    await claim()
    return (await buildsOf(ledger)).includes('b')
  })
  for (const handle of [open, begun]) await handle.signal(closeWindow)
  expect(await open.result()).toMatchObject({ hits: 2 })
  expect(await begun.result()).toMatchObject({ hits: 1 })
  expect(await buildsOf(open)).toEqual(['a'])
  expect(await buildsOf(begun)).toEqual(['b'])
  expect(await buildsOf(ledger)).toEqual(['a', 'b'])
}, 180_000)
