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
import { pollerTaskQueue } from '../core/names'
import { openLookup } from '../geo/open-lookup'
import { logger } from '../log'
import { metricsExporter, notServed } from '../metrics/exporter'
import { LedgerMetrics } from '../metrics/ledger-metrics'
import { watchLedger } from '../metrics/ledger-watch'
import { PollerMetrics } from '../metrics/poller-metrics'
import { StepMetrics } from '../metrics/step-metrics'
import { openDatabase } from '../postgres/database'
import { temporalConfig, unreachable, withTemporal } from '../temporal'
import { bundlePath, workflowSources } from './bundle-workflows'

/** Pollers of one process: each keeps a core busy on a backlog, and Node has one. */
const POLLERS_PER_PROCESS = 1
const CACHED_WORKFLOWS = 150
/**
 * How long a workflow's task waits for the process that has it in memory, before any other replays it: of a process
 * that was killed it is waited for in vain. Temporal's default is 10 s.
 */
const STICKY_TIMEOUT = '2s'
/** Messages are bounded at 1 MB (see MAX_DELTA_BYTES); the server refuses 2 MB. Bytes. */
const PAYLOAD_WARNING = 1_500_000

/**
 * Runs the pipeline's workflows and activities until `signal` aborts. Then pollers drain first, while the ledger
 * that they talk to still runs here, and everything else ends after them.
 *
 * @param onReady called when the process is polling its task queues
 */
export async function runWorker(config: Config, signal: AbortSignal, onReady: () => void): Promise<void> {
  const { metricMeter } = await installRuntime(config)
  const { connectionOptions, namespace } = temporalConfig()
  // Says in one line what the worker itself would not: no server, or no such namespace.
  await withTemporal(() => Promise.resolve())
  const lookup = await openLookup(config)
  const payloadLimits = { payloadsWarnSize: PAYLOAD_WARNING }
  const connection = await NativeConnection.connect({
    ...connectionOptions,
    payloadLimits,
    // By itself the SDK asks for gzip, on which the server spent half of its time, and this process a part of its own.
    grpcCompression: { codec: 'none' },
  }).catch((error: unknown) => {
    throw unreachable(error)
  })
  const db = openDatabase(config.postgres)
  const ended = new AbortController()
  try {
    const metrics = new PollerMetrics(metricMeter)
    const activities = new StepMetrics(metricMeter).measured(
      createActivities({ config, db, ...lookup, namespace, metrics }),
    )
    const shared = { connection, namespace, activities, maxHeartbeatThrottleInterval: '1s' } as const
    const main = await Worker.create({
      ...shared,
      ...workflows(),
      ...versioning(config),
      taskQueue: config.taskQueue,
      maxCachedWorkflows: CACHED_WORKFLOWS,
      stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT,
      shutdownGraceTime: '20s',
      shutdownForceTime: '30s',
    })
    const pollers = await Worker.create({
      ...shared,
      taskQueue: pollerTaskQueue(config.taskQueue),
      maxConcurrentActivityTaskExecutions: POLLERS_PER_PROCESS,
      // Cancelled at once, so that they drain; this is how long they may take.
      shutdownForceTime: '30s',
    })
    if (config.metrics) {
      const client = new Client({ connection, namespace })
      void watchLedger(client, config, new LedgerMetrics(metricMeter), ended.signal)
    }
    await runInOrder(main, pollers, signal, onReady)
  } finally {
    ended.abort()
    await db.destroy()
    await connection.close()
  }
}

/** @throws UserError where the metrics' address cannot be listened on */
async function installRuntime(config: Config): Promise<Runtime> {
  const exporter = await metricsExporter(config)
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
function workflows(): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath' | 'interceptors'> {
  if (existsSync(bundlePath)) return { workflowBundle: { codePath: bundlePath } }
  const { workflowsPath, workflowInterceptorModules: workflowModules } = workflowSources
  return { workflowsPath, interceptors: { workflowModules } }
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

async function runInOrder(
  main: Worker,
  pollers: Worker,
  signal: AbortSignal,
  onReady: () => void,
): Promise<void> {
  const stop = () => pollers.shutdown()
  const mainRun = main.run()
  // One that fails takes the other with it, so that the process ends and is started anew.
  const pollersRun = pollers.run().finally(() => main.getState() === 'RUNNING' && main.shutdown())
  mainRun.catch(() => pollers.getState() === 'RUNNING' && pollers.shutdown())
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  onReady()
  const results = await Promise.allSettled([mainRun, pollersRun])
  const failed = results.find(result => result.status === 'rejected')
  if (failed) throw failed.reason
}

const LEVELS = { TRACE: 'trace', DEBUG: 'debug', INFO: 'debug', WARN: 'warn', ERROR: 'error' } as const

function forward({ level, message, meta }: LogEntry): void {
  // As it should be for the pollers' worker.
  const expected = message.startsWith('No workflows registered')
  logger[expected ? 'debug' : LEVELS[level]]({ ...meta }, message)
}
