import type { Client } from '@temporalio/client'
import { tsToMs } from '@temporalio/common/lib/time'

/** A worker polls at least once a minute, and Temporal lists it for five minutes after that, ms. */
const SEEN_WITHIN = 90_000

/** Numbers of Temporal's API: TaskQueueType, WorkerVersioningMode and WorkerStatus. */
export const WORKFLOW_TASKS = 1
export const ACTIVITY_TASKS = 2
const VERSIONED = 2
const RUNNING = 1

/** A worker that has polled a task queue recently. */
export interface SeenWorker {
  identity: string
  /** Epoch ms. */
  polledAt: number
  /** WORKER_BUILD_ID; undefined for a worker without versions. */
  build: string | undefined
}

/** The workers that have polled a task queue recently, and the build that new tasks of its workflows go to. */
export async function describeQueue(
  client: Client,
  name: string,
  taskQueueType: typeof WORKFLOW_TASKS | typeof ACTIVITY_TASKS,
): Promise<{ workers: SeenWorker[]; currentBuild: string | undefined }> {
  const { pollers, versioningInfo } = await client.workflowService.describeTaskQueue({
    namespace: client.options.namespace,
    taskQueue: { name },
    taskQueueType,
  })
  const workers = (pollers ?? []).map(({ identity, lastAccessTime, deploymentOptions }): SeenWorker => {
    const isVersioned = Number(deploymentOptions?.workerVersioningMode) === VERSIONED
    return {
      identity: identity ?? '',
      polledAt: lastAccessTime ? tsToMs(lastAccessTime) : 0,
      build: isVersioned ? (deploymentOptions?.buildId ?? undefined) : undefined,
    }
  })
  const stopped = await stoppedWorkers(client, name)
  return {
    workers: workers.filter(
      ({ identity, polledAt }) => polledAt > Date.now() - SEEN_WITHIN && !stopped.has(identity),
    ),
    currentBuild: versioningInfo?.currentDeploymentVersion?.buildId ?? undefined,
  }
}

/** The identities of workers that have said that they stop. Servers before 1.30 do not know them. */
async function stoppedWorkers(client: Client, taskQueue: string): Promise<Set<string>> {
  const query = `TaskQueue = '${taskQueue}'`
  const { namespace } = client.options
  const { workersInfo } = await client.workflowService
    .listWorkers({ namespace, query })
    .catch(() => ({ workersInfo: [] }))
  const heartbeats = (workersInfo ?? []).map(({ workerHeartbeat }) => workerHeartbeat)
  const running = heartbeats.filter(heartbeat => Number(heartbeat?.status) === RUNNING)
  const stopped = new Set(heartbeats.map(heartbeat => heartbeat?.workerIdentity ?? ''))
  // A container gives each of its processes the same identity.
  for (const heartbeat of running) stopped.delete(heartbeat?.workerIdentity ?? '')
  return stopped
}
