import { Connection, WorkflowClient, type WorkflowHandleWithSignaledRunId } from '@temporalio/client'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker'
import { findTestServer } from '../support/test-server'
import { windowId } from '../../src/contract/ids'
import { addDeltas } from '../../src/contract/messages'
import { searchAttributes } from '../../src/contract/search-attributes'
import type { PipelineSettings } from '../../src/core/settings'
import type { Delta, ToldBook } from '../../src/core/window/protocol'
import { formatWindow, windowStart } from '../../src/core/window/tumbling-window'
import { addSearchAttributes } from '../../src/temporal/search-attributes'
import type { window as windowWorkflow } from '../../src/workflows/window'
import {
  bundleWorkflows,
  MemorySink,
  MINUTE,
  newSettings,
  sinkActivities,
  type HistoryEvent,
} from './support'

export type Handle = WorkflowHandleWithSignaledRunId<typeof windowWorkflow>

const taskQueue = newSettings().group
const sinks = new Map<string, MemorySink>()

/** One window of a separate pipeline, with a stand-in for Postgres. */
export class TestWindow {
  readonly sink = new MemorySink()
  readonly settings: PipelineSettings
  readonly id: string
  readonly name: string
  /** Its end plus the watermark delay, epoch ms. */
  readonly due: number

  constructor(
    private readonly client: WorkflowClient,
    readonly start: number,
    fields: Partial<PipelineSettings> = {},
  ) {
    this.settings = newSettings(fields)
    const { group, windowSize, watermarkDelay } = this.settings
    sinks.set(group, this.sink)
    this.id = windowId(group, start)
    this.name = formatWindow(start, windowSize)
    this.due = start + windowSize + watermarkDelay
  }

  /** Starts a new run if the last one has ended, as pollers do. */
  send(...deltas: Delta[]): Promise<Handle> {
    return this.client.signalWithStart<typeof windowWorkflow, [Delta[]]>('window', {
      workflowId: this.id,
      taskQueue,
      args: [{ settings: this.settings, start: this.start }],
      signal: addDeltas,
      signalArgs: [deltas],
    })
  }

  /** Starts a run for books, as the ledger does. */
  startFor(books: ToldBook[]) {
    return this.client.start<typeof windowWorkflow>('window', {
      workflowId: this.id,
      taskQueue,
      args: [{ settings: this.settings, start: this.start, books }],
    })
  }

  /** The latest run. */
  get latest() {
    return this.client.getHandle<typeof windowWorkflow>(this.id)
  }
}

export const isWrite = ({ kind, name }: HistoryEvent) => kind === 'activity' && name === 'writeWindow'

/** Runs a worker for windows; returns a function that stops it. */
export async function startWorker(
  connection: NativeConnection,
  options: Partial<WorkerOptions> = {},
): Promise<() => Promise<void>> {
  const worker = await Worker.create({
    ...{ connection, taskQueue, workflowBundle: await bundleWorkflows(), shutdownForceTime: '5s' },
    activities: sinkActivities(sinks),
    ...options,
  })
  const running = worker.run()
  return () => {
    worker.shutdown()
    return running
  }
}

/** The real server of the test run, with a worker for windows. */
export class RealServer {
  private constructor(
    readonly client: WorkflowClient,
    private readonly nativeConnection: NativeConnection,
    private readonly stopWorker: () => Promise<void>,
  ) {}

  static async connect(options?: Partial<WorkerOptions>): Promise<RealServer> {
    const address = process.env.TEMPORAL_ADDRESS!
    const client = new WorkflowClient({ connection: await Connection.connect({ address }) })
    const nativeConnection = await NativeConnection.connect({ address })
    return new RealServer(client, nativeConnection, await startWorker(nativeConnection, options))
  }

  async disconnect(): Promise<void> {
    try {
      await this.stopWorker()
    } finally {
      await this.nativeConnection.close()
      await this.client.connection.close()
    }
  }
}

/** A server that skips time while nothing happens, with a worker for windows. */
export class SkippingServer {
  private constructor(
    private readonly environment: TestWorkflowEnvironment,
    private readonly stopWorker: () => Promise<void>,
  ) {}

  static async start(): Promise<SkippingServer> {
    const path = await findTestServer()
    const server = path === undefined ? {} : { executable: { type: 'existing-path', path } as const }
    const environment = await TestWorkflowEnvironment.createTimeSkipping({ server })
    await addSearchAttributes(environment.client, searchAttributes)
    return new SkippingServer(environment, await startWorker(environment.nativeConnection))
  }

  async stop(): Promise<void> {
    try {
      await this.stopWorker()
    } finally {
      await this.environment.teardown()
    }
  }

  now(): Promise<number> {
    return this.environment.currentTimeMs()
  }

  async skipTo(time: number): Promise<void> {
    await this.environment.sleep(time - (await this.now()))
  }

  /** A window that starts `minutes` from now, or up to five before that. */
  async newWindow(fields: Partial<PipelineSettings> = {}, minutes = 5): Promise<TestWindow> {
    const start = windowStart(await this.now(), 5 * MINUTE) + minutes * MINUTE
    return new TestWindow(this.environment.client.workflow, start, fields)
  }
}
