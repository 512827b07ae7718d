import type { Client } from '@temporalio/client'
import { tsToMs } from '@temporalio/common/lib/time'
import type { Config } from '../../config'
import { formatDuration } from '../../core/duration'
import { counted } from '../../core/numbers'
import { pollerTaskQueue } from '../../contract/ids'
import { ledgerGone, PipelineClient } from '../pipeline-client'
import { requireSearchAttributes } from '../../temporal/search-attributes'
import { temporalConfig, withTemporal } from '../../temporal/connection'
import type { Check, Findings } from './finding'
import { scheduledMaintenance } from '../maintenance'

const DAY = 86_400_000
/** A worker polls at least once a minute, and Temporal lists it for five minutes after that, ms. */
const SEEN_WITHIN = 90_000

/** Numbers of Temporal's API: TaskQueueType and PendingActivityState. */
const WORKFLOW_TASKS = 1
const ACTIVITY_TASKS = 2
const STARTED = 2

export function checkTemporal(config: Config): Check {
  return findings =>
    withTemporal(async client => {
      const { address = 'localhost:7233', tls } = temporalConfig().connectionOptions
      findings.ok(`Temporal answers at ${address}, ${tls ? 'with TLS' : 'without TLS'}.`)
      await checkNamespace(client, findings)
      await requireSearchAttributes(client)
      findings.ok('The search attributes are registered.')
      const ledger = await new PipelineClient(client, config).ledgerState()
      if (ledger === 'ended') findings.fail(ledgerGone(config.settings.group))
      await checkWindowWorkers(client, config, findings)
      await checkPollerWorkers(client, config, findings)
      await checkSchedule(client, config, ledger !== undefined, findings)
    })
}

async function checkNamespace(client: Client, findings: Findings): Promise<void> {
  const { namespace } = client.options
  const { config } = await client.workflowService.describeNamespace({ namespace })
  const retention = Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0) * 1_000
  const kept = `The namespace "${namespace}" keeps closed workflows for ${formatDuration(retention)}`
  findings.check(retention < DAY, `${kept}: raise its retention to see yesterday's windows.`, `${kept}.`)
}

async function checkWindowWorkers(client: Client, { taskQueue }: Config, findings: Findings): Promise<void> {
  const { length } = await recentPollers(client, taskQueue, WORKFLOW_TASKS)
  findings.check(
    length === 0,
    `No worker polls the task queue "${taskQueue}": start one with "web-traffic worker", with role windows or all.`,
    `The task queue "${taskQueue}" has ${counted(length, 'worker')}.`,
  )
}

async function checkPollerWorkers(
  client: Client,
  { taskQueue, settings }: Config,
  findings: Findings,
): Promise<void> {
  const queue = pollerTaskQueue(taskQueue)
  // A worker that runs a poller does not poll for another task.
  const idle = await recentPollers(client, queue, ACTIVITY_TASKS)
  const { size } = new Set([...idle, ...(await busyWorkers(client, settings.group))])
  findings.check(
    size === 0,
    `No worker polls the task queue "${queue}": start one with "web-traffic worker", with role pollers or all.`,
    `The task queue "${queue}" has ${counted(size, 'worker')}.`,
  )
}

/** The identities of workers that have polled a task queue recently. */
async function recentPollers(client: Client, name: string, taskQueueType: number): Promise<string[]> {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace: client.options.namespace,
    taskQueue: { name },
    taskQueueType,
  })
  return (pollers ?? [])
    .filter(({ lastAccessTime }) => lastAccessTime && tsToMs(lastAccessTime) > Date.now() - SEEN_WITHIN)
    .map(({ identity }) => identity ?? '')
}

/** The identities of the workers that run the pipeline's pollers. */
async function busyWorkers(client: Client, group: string): Promise<string[]> {
  const identities: string[] = []
  const query = `Pipeline = '${group}' AND WorkflowType = 'poller' AND ExecutionStatus = 'Running'`
  for await (const { workflowId } of client.workflow.list({ query })) {
    const { raw } = await client.workflow.getHandle(workflowId).describe()
    for (const { state, lastWorkerIdentity } of raw.pendingActivities ?? [])
      if (Number(state) === STARTED && lastWorkerIdentity) identities.push(lastWorkerIdentity)
  }
  return identities
}

async function checkSchedule(
  client: Client,
  { settings: { group }, retention }: Config,
  isStarted: boolean,
  findings: Findings,
): Promise<void> {
  const scheduled = await scheduledMaintenance(client, group)
  if (!scheduled) {
    if (isStarted)
      findings.warn('Maintenance of the tables is not scheduled: run "web-traffic maintain --schedule".')
    return
  }
  if (scheduled.paused)
    return findings.warn('The schedule for maintenance of the tables is paused: resume it in the Web UI.')
  const describe = (time: number | undefined) =>
    time === undefined ? 'forever' : `for ${formatDuration(time)}`
  const kept = describe(scheduled.retention)
  findings.check(
    scheduled.retention !== retention,
    `Counts are kept ${kept}, but RETENTION says ${describe(retention)}: run "web-traffic maintain --schedule".`,
    `Maintenance of the tables runs every hour, and counts are kept ${kept}.`,
  )
}
