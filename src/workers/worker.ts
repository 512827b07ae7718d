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
import { dataConverter } from '../temporal/message-bounds'
import { metricsExporter, notServed } from '../telemetry/exporter'
import { LedgerMetrics } from '../telemetry/ledger-metrics'
import { watchLedger } from './ledger-watch'
import { PollerMetrics } from '../telemetry/poller-metrics'
import { StepMetrics } from '../telemetry/step-metrics'
import { openDatabase } from '../postgres/database'
import { temporalConfig, unreachable, withTemporal } from '../temporal/connection'
import { workerTracing } from '../telemetry/tracing'
import { bundlePath, workflowSources } from './bundle-workflows'
import { closeProbes, serveProbes } from './probes'
import { ENDS_WITHIN, type Role } from './roles'

/** Pollers of one process: each keeps a core busy on a backlog, and Node has one. */
const POLLERS_PER_PROCESS = 1
const CACHED_WORKFLOWS = 150
/**
 * How long a workflow's task waits for the process that has it in memory, before any other replays it: of a process
 * that was killed it is waited for in vain. Temporal's default is 10 s.
 */
const STICKY_TIMEOUT = '2s'
/** A probe is not kept waiting for Temporal for longer. ms */
const ANSWERS_WITHIN = 2_000
/** Below the bound of a message (see message-bounds.ts). Bytes. */
const PAYLOAD_WARNING = 1_500_000

/**
 * Runs the workflows and activities of a role until `signal` aborts. Then pollers drain first, while the ledger that they
 * talk to still runs, here or in a process of its own, and everything else ends after them.
 *
 * @param onReady called when the process is polling its task queues
 */
export async function runWorker(
  config: Config,
  role: Role,
  signal: AbortSignal,
  onReady: () => void,
): Promise<void> {
  const { metricMeter } = await installRuntime(config)
  const temporal = temporalConfig()
  const { connectionOptions, namespace } = temporal
  // Says in one line what the worker itself would not: no server, or no such namespace.
  await withTemporal(() => Promise.resolve())
  const lookups = await openLookups(config)
  const payloadLimits = { payloadsWarnSize: PAYLOAD_WARNING }
  const connection = await NativeConnection.connect({
    ...connectionOptions,
    payloadLimits,
    // By itself the SDK asks for gzip, on which the server spent half of its time, and this process a part of its own.
    grpcCompression: { codec: 'none' },
  }).catch(async (error: unknown) => {
    throw await unreachable(error, temporal)
  })
  const db = openDatabase(config.postgres)
  const ended = new AbortController()
  try {
    const metrics = new PollerMetrics(metricMeter)
    const activities = new StepMetrics(metricMeter).measured(
      createActivities({ config, db, lookups, namespace, metrics }),
    )
    const shared = {
      connection,
      namespace,
      activities,
      dataConverter,
      maxHeartbeatThrottleInterval: '1s',
      ...workerTracing(),
    } as const
    const workers: Worker[] = []
    if (role !== 'windows') workers.push(await createPollers(config, shared))
    if (role !== 'pollers') workers.push(await createMain(config, shared))
    if (config.metrics) {
      const client = new Client({ connection, namespace })
      void watchLedger(client, config, new LedgerMetrics(metricMeter), ended.signal)
    }
    const health = config.health && (await serveProbes(config.health, () => whyNotReady(workers, connection)))
    try {
      await runInOrder(workers, signal, onReady)
    } finally {
      if (health) await closeProbes(health)
    }
  } finally {
    ended.abort()
    await db.destroy()
    // Workers that never ran hold it still; what kept them from it is what matters.
    await connection.close().catch((error: unknown) => logger.debug({ error }, 'the connection stays open'))
  }
}

type Shared = Pick<
  WorkerOptions,
  | 'connection'
  | 'namespace'
  | 'activities'
  | 'dataConverter'
  | 'maxHeartbeatThrottleInterval'
  | 'interceptors'
  | 'sinks'
>

/** Of the workflows, and of every activity but reading Kafka. */
function createMain(config: Config, shared: Shared): Promise<Worker> {
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

function createPollers(config: Config, shared: Shared): Promise<Worker> {
  return Worker.create({
    ...shared,
    taskQueue: pollerTaskQueue(config.taskQueue),
    maxConcurrentActivityTaskExecutions: POLLERS_PER_PROCESS,
    // Cancelled at once, so that they drain; this is how long they may take.
    shutdownForceTime: ENDS_WITHIN,
  })
}

/** @throws UserError where the metrics' address cannot be listened on */
async function installRuntime(config: Config): Promise<Runtime> {
  const exporter = await metricsExporter(config.metrics, config.settings.group)
  try {
    return Runtime.install({
      logger: new DefaultLogger('INFO', forward),
      telemetryOptions: { logging: { forward: {} }, ...exporter },
      // By itself the SDK would stop both workers at once, and pollers would drain into a ledger that nobody runs.
      shutdownSignals: [],
    })
  } catch (error) {
    throw config.metrics ? notServed(config.metrics, error) : error
  }
}

/** Prefers the bundle of the build; under test the sources are bundled on the fly. */
function workflows(
  interceptors: WorkerOptions['interceptors'],
): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath' | 'interceptors'> {
  if (existsSync(bundlePath)) return { workflowBundle: { codePath: bundlePath } }
  const { workflowsPath, workflowInterceptorModules: workflowModules } = workflowSources
  return { workflowsPath, interceptors: { ...interceptors, workflowModules } }
}

/** The deployment bears the group's name; which of its builds is current is said with Temporal's own CLI. */
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

/** Runs all of them at once, and ends each only after those before it. */
async function runInOrder(workers: Worker[], signal: AbortSignal, onReady: () => void): Promise<void> {
  const runs = workers.map((worker, i) => worker.run().finally(() => shutDown(workers[i + 1])))
  // One that fails takes the others with it, so that the process ends and is started anew.
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
  const idle = workers.find(worker => worker.getState() !== 'RUNNING')
  if (idle) return `The task queue "${idle.options.taskQueue}" is not polled: ${idle.getState()}.`
  const { namespace } = workers[0]!.options
  try {
    const deadline = Date.now() + ANSWERS_WITHIN
    await connection.withDeadline(deadline, () => connection.workflowService.describeNamespace({ namespace }))
    return undefined
  } catch (error) {
    return (await unreachable(error, temporalConfig())).message
  }
}

const LEVELS = { TRACE: 'trace', DEBUG: 'debug', INFO: 'debug', WARN: 'warn', ERROR: 'error' } as const

function forward({ level, message, meta }: LogEntry): void {
  // As it should be for the pollers' worker.
  const expected = message.startsWith('No workflows registered')
  logger[expected ? 'debug' : LEVELS[level]]({ ...meta }, message)
}
