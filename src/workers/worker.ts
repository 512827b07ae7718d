import { existsSync } from 'node:fs'
import { Client } from '@temporalio/client'
import {
  DefaultLogger,
  NativeConnection,
  Runtime,
  Worker,
  type LogEntry,
  type WorkerOptions,
} from '@temporalio/worker'
import { createActivities } from '../activities'
import type { Config } from '../config'
import { pollerTaskQueue } from '../contract/ids'
import { openLookups } from '../geo/open-lookup'
import { logger } from '../log'
import { ConnectionPool } from '../postgres/connection-pool'
import { explainExporterFailure, metricsExporter } from '../telemetry/exporter'
import { LedgerMetrics } from '../telemetry/ledger-metrics'
import { PollerMetrics } from '../telemetry/poller-metrics'
import { StepMetrics } from '../telemetry/step-metrics'
import { workerTracing } from '../telemetry/tracing'
import { temporalConfig, unreachable, withTemporal } from '../temporal/connection'
import { dataConverter } from '../temporal/message-bounds'
import { bundlePath, workflowSources } from './bundle-workflows'
import { watchLedger } from './ledger-watch'
import { closeProbes, serveProbes } from './probes'
import { ENDS_WITHIN, type Role } from './roles'

/** A poller on a backlog needs a core, and Node has one. */
const POLLERS_PER_PROCESS = 1
const POSTGRES_CONNECTIONS = 5
const CACHED_WORKFLOWS = 150
/** How long a workflow task waits for the process that has the workflow in memory, and may be dead. Default: 10 s. */
const STICKY_TIMEOUT = '2s'
const PROBE_TIMEOUT = 2_000
/** Below the bound in message-bounds.ts. Bytes. */
const PAYLOAD_WARNING = 1_500_000

/**
 * Runs the workflows and activities of a role until `signal` aborts. Pollers drain first, because they need the ledger's
 * workflow to run, in this process or another one.
 *
 * @param onReady called once the process polls its task queues
 */
export async function runWorker(
  config: Config,
  role: Role,
  signal: AbortSignal,
  onReady: () => void,
): Promise<void> {
  const { metricMeter } = await installRuntime(config)
  // The errors of this are for a person, unlike those of NativeConnection.
  await withTemporal(() => Promise.resolve())
  const lookups = await openLookups(config)
  const { namespace } = temporalConfig()
  const connection = await connect()
  const postgres = new ConnectionPool(config.postgres, POSTGRES_CONNECTIONS)
  const ended = new AbortController()
  try {
    const metrics = new PollerMetrics(metricMeter)
    const activities = new StepMetrics(metricMeter).measured(
      createActivities({ config, postgres, lookups, namespace, metrics }),
    )
    const shared: Shared = {
      connection,
      namespace,
      activities,
      dataConverter,
      maxHeartbeatThrottleInterval: '1s',
      ...workerTracing(),
    }
    const workers: Worker[] = []
    if (role !== 'windows') workers.push(await createPollerWorker(config, shared))
    if (role !== 'pollers') workers.push(await createMainWorker(config, shared))
    if (config.metrics) {
      const client = new Client({ connection, namespace })
      void watchLedger(client, config, new LedgerMetrics(metricMeter), ended.signal)
    }
    const probes = config.health && (await serveProbes(config.health, () => whyNotReady(workers, connection)))
    try {
      await runInOrder(workers, signal, onReady)
    } finally {
      if (probes) await closeProbes(probes)
    }
  } finally {
    ended.abort()
    await postgres.end()
    // Fails if a worker was created and never ran; the error that prevented it matters more.
    await connection.close().catch((error: unknown) => logger.debug({ error }, 'the connection stays open'))
  }
}

async function connect(): Promise<NativeConnection> {
  const temporal = temporalConfig()
  try {
    return await NativeConnection.connect({
      ...temporal.connectionOptions,
      payloadLimits: { payloadsWarnSize: PAYLOAD_WARNING },
      // The default, gzip, takes half of the server's CPU time.
      grpcCompression: { codec: 'none' },
    })
  } catch (error) {
    throw await unreachable(error, temporal)
  }
}

type Shared = Pick<WorkerOptions, 'namespace' | 'activities' | 'interceptors' | 'sinks'> &
  Pick<WorkerOptions, 'connection' | 'dataConverter' | 'maxHeartbeatThrottleInterval'>

function createMainWorker(config: Config, shared: Shared): Promise<Worker> {
  return Worker.create({
    ...shared,
    ...workflows(shared.interceptors),
    ...versioning(config),
    taskQueue: config.taskQueue,
    maxCachedWorkflows: CACHED_WORKFLOWS,
    stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT,
    shutdownGraceTime: '20s',
    shutdownForceTime: ENDS_WITHIN,
  })
}

/** Its activities are cancelled at once on shutdown, so that they drain. */
function createPollerWorker(config: Config, shared: Shared): Promise<Worker> {
  return Worker.create({
    ...shared,
    taskQueue: pollerTaskQueue(config.taskQueue),
    maxConcurrentActivityTaskExecutions: POLLERS_PER_PROCESS,
    shutdownForceTime: ENDS_WITHIN,
  })
}

/** @throws UserError if the metrics' address is unavailable */
async function installRuntime(config: Config): Promise<Runtime> {
  const exporter = await metricsExporter(config.metrics, config.settings.group)
  try {
    return Runtime.install({
      logger: new DefaultLogger('INFO', forward),
      telemetryOptions: { logging: { forward: {} }, ...exporter },
      // The SDK would stop both workers at the same time, and the pollers could not drain.
      shutdownSignals: [],
    })
  } catch (error) {
    throw config.metrics ? explainExporterFailure(config.metrics, error) : error
  }
}

/** Tests run without the build's bundle; the SDK then bundles the sources. */
function workflows(
  interceptors: WorkerOptions['interceptors'],
): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath' | 'interceptors'> {
  if (existsSync(bundlePath)) return { workflowBundle: { codePath: bundlePath } }
  const { workflowsPath, workflowInterceptorModules: workflowModules } = workflowSources
  return { workflowsPath, interceptors: { ...interceptors, workflowModules } }
}

/** The deployment's name is the group's. Temporal's CLI sets the current build. */
export function versioning({
  settings: { group: deploymentName },
  buildId,
}: Pick<Config, 'settings' | 'buildId'>): Pick<WorkerOptions, 'workerDeploymentOptions'> {
  if (buildId === undefined) return {}
  return {
    workerDeploymentOptions: {
      useWorkerVersioning: true,
      version: { deploymentName, buildId },
      defaultVersioningBehavior: 'AUTO_UPGRADE',
    },
  }
}

/** Runs all workers, and shuts each one down after the one before it has ended. */
async function runInOrder(workers: Worker[], signal: AbortSignal, onReady: () => void): Promise<void> {
  const runs = workers.map((worker, i) => worker.run().finally(() => shutDown(workers[i + 1])))
  // If one fails, all end, so that the process is restarted.
  for (const run of runs) run.catch(() => workers.forEach(shutDown))
  const stop = () => shutDown(workers[0])
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  onReady()
  const results = await Promise.allSettled(runs)
  const failed = results.find(result => result.status === 'rejected')
  if (failed) throw failed.reason
}

function shutDown(worker: Worker | undefined): void {
  if (worker?.getState() === 'RUNNING') worker.shutdown()
}

/** Undefined while every worker polls its task queue and Temporal answers. */
async function whyNotReady(workers: Worker[], connection: NativeConnection): Promise<string | undefined> {
  const stopped = workers.find(worker => worker.getState() !== 'RUNNING')
  if (stopped) return `The task queue "${stopped.options.taskQueue}" is not polled: ${stopped.getState()}.`
  const { namespace } = workers[0]!.options
  try {
    const deadline = Date.now() + PROBE_TIMEOUT
    await connection.withDeadline(deadline, () => connection.workflowService.describeNamespace({ namespace }))
    return undefined
  } catch (error) {
    return (await unreachable(error, temporalConfig())).message
  }
}

const LEVELS = { TRACE: 'trace', DEBUG: 'debug', INFO: 'debug', WARN: 'warn', ERROR: 'error' } as const

function forward({ level, message, meta }: LogEntry): void {
  // The pollers' worker has no workflows by design.
  const isExpected = message.startsWith('No workflows registered')
  logger[isExpected ? 'debug' : LEVELS[level]]({ ...meta }, message)
}
