import { randomUUID } from 'node:crypto'
import { Context } from '@temporalio/activity'
import { Client, Connection, type WorkflowHandle } from '@temporalio/client'
import { NativeConnection, Worker, type WorkflowBundle } from '@temporalio/worker'
import { afterAll, afterEach, beforeAll } from '@jest/globals'
import { TemporalPort } from '../../src/activities/pipeline-port'
import type { Activities } from '../../src/contract/activities'
import { ingestId, pollerId, pollerTaskQueue } from '../../src/contract/ids'
import { ingestStatus } from '../../src/contract/messages'
import type { ClaimRequest, FlushRequest, PartitionFlush } from '../../src/core/window/protocol'
import { windowStart } from '../../src/core/window/tumbling-window'
import type { ingest } from '../../src/workflows/ingest'
import { NO_STAGING } from '../activities/support'
import { bundleWorkflows, MemorySink, MINUTE, newSettings, quietRuntime, sinkActivities } from './support'

export const taskQueue = `test-${randomUUID()}`
const sinks = new Map<string, MemorySink>()
/** A window that ended long ago. */
export const W0 = windowStart(Date.UTC(2026, 0, 1, 12), 5 * MINUTE)
export const W1 = W0 + 5 * MINUTE
const never = new AbortController().signal

let connection: Connection
export let nativeConnection: NativeConnection
export let client: Client
export let workflowBundle: WorkflowBundle
let workers: Worker[] = []
let running: Promise<unknown> | undefined
const pipelines: Pipeline[] = []

/** `group/number` of each running poller activity. */
const polling: string[] = []

/** Runs until it is cancelled. */
const pollKafka: Activities['pollKafka'] = async ({ settings, poller }) => {
  const context = Context.current()
  const heartbeats = setInterval(() => context.heartbeat(), 100)
  const name = `${settings.group}/${poller}`
  polling.push(name)
  try {
    await context.cancelled.catch(() => undefined)
    return { reason: 'drained', records: 0 }
  } finally {
    clearInterval(heartbeats)
    polling.splice(polling.indexOf(name), 1)
  }
}

export class Pipeline {
  readonly settings = newSettings()
  readonly sink = new MemorySink()
  readonly port = this.portTo(client)
  readonly handle: WorkflowHandle<typeof ingest> = client.workflow.getHandle(ingestId(this.settings.group))

  static async start(pollers = 0): Promise<Pipeline> {
    const pipeline = new Pipeline()
    const { settings, sink } = pipeline
    sinks.set(settings.group, sink)
    pipelines.push(pipeline)
    await client.workflow.start<typeof ingest>('ingest', {
      workflowId: ingestId(settings.group),
      taskQueue,
      args: [{ settings, taskQueue, pollers, startPositions: {} }],
    })
    return pipeline
  }

  portTo(client: Client): TemporalPort {
    return new TemporalPort(client, NO_STAGING, { settings: this.settings, poller: 1, taskQueue }, never)
  }

  status() {
    return this.handle.query(ingestStatus)
  }

  /** The poller number of each running activity. */
  polling(): number[] {
    return polling
      .filter(name => name.startsWith(this.settings.group))
      .map(name => Number(name.split('/').at(-1)))
      .sort((a, b) => a - b)
  }

  async runId(): Promise<string> {
    return (await this.handle.describe()).runId
  }
}

export const claimOf = (partitionCount: number, ...partitions: number[]): ClaimRequest => ({
  poller: 1,
  partitionCount,
  partitions: partitions.map(partition => ({ partition, earliest: 0 })),
})
export const flushOf = (partitionCount: number, ...partitions: PartitionFlush[]): FlushRequest => ({
  poller: 1,
  partitionCount,
  partitions,
})
export const done = (to: number, basis: number, records = 10) => ({
  to,
  basis,
  totals: { records, hits: records, late: 0, rejected: 0 },
})

/** Runs workers on the server of the test run while the tests of a file run. */
export function setUpIngest(): void {
  beforeAll(async () => {
    quietRuntime()
    workflowBundle = await bundleWorkflows()
    const address = process.env.TEMPORAL_ADDRESS!
    connection = await Connection.connect({ address })
    nativeConnection = await NativeConnection.connect({ address })
    client = new Client({ connection })
    workers = [
      await Worker.create({
        connection: nativeConnection,
        taskQueue,
        workflowBundle,
        shutdownForceTime: '5s',
        activities: sinkActivities(sinks),
      }),
      await Worker.create({
        connection: nativeConnection,
        taskQueue: pollerTaskQueue(taskQueue),
        activities: { pollKafka },
        shutdownForceTime: '5s',
        maxHeartbeatThrottleInterval: 100,
        defaultHeartbeatThrottleInterval: 100,
      }),
    ]
    running = Promise.all(workers.map(worker => worker.run()))
  }, 120_000)

  afterEach(async () => {
    for (const { handle, settings } of pipelines.splice(0)) {
      await handle.terminate()
      for (let n = 1; n <= 3; n++)
        await client.workflow
          .getHandle(pollerId(settings.group, n))
          .terminate()
          .catch(() => undefined)
    }
  })

  afterAll(async () => {
    for (const worker of workers) worker.shutdown()
    try {
      await running
    } finally {
      await nativeConnection?.close()
    }
    await connection?.close()
  })
}
