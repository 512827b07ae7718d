import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import type { Config } from '../../config'
import { tsToMs } from '@temporalio/common/lib/time'
import { formatDuration } from '../../core/duration'
import { ingestId, pollerTaskQueue } from '../../contract/ids'
import { ledgerGone, Pipeline } from '../pipeline'
import { requireSearchAttributes } from '../../temporal/search-attributes'
import { temporalConfig, withTemporal } from '../../temporal/connection'
import type { Check, Findings } from './finding'
import { scheduledMaintenance } from '../maintenance'

const DAY = 86_400_000
/** A worker asks for tasks at least once a minute; Temporal lists one for five more. ms */
const SEEN_WITHIN = 90_000

/** Numbers of Temporal's API: TaskQueueType and PendingActivityState. */
const WORKFLOW_TASKS = 1
const ACTIVITY_TASKS = 2
const STARTED = 2

export function checkTemporal(config: Config): Check {
  return findings =>
    withTemporal(async client => {
      const { address, tls } = temporalConfig().connectionOptions
      findings.ok(`Temporal answers at ${address ?? 'localhost:7233'}, ${tls ? 'by TLS' : 'without TLS'}.`)
      await checkNamespace(client, findings)
      await requireSearchAttributes(client)
      findings.ok('The search attributes are registered.')
      if (await new Pipeline(client, config).hasEnded()) findings.fail(ledgerGone(config.settings.group))
      await checkWorkers(client, config, findings)
      await checkSchedule(client, config, findings)
    })
}

async function checkSchedule(client: Client, config: Config, findings: Findings): Promise<void> {
  const scheduled = await scheduledMaintenance(client, config.settings.group)
  const kept = (length: number | undefined) =>
    length === undefined ? 'for ever' : `for ${formatDuration(length)}`
  if (!scheduled) {
    if (await isStarted(client, config))
      findings.warn(
        'Nobody looks after the tables: have it done every hour by "web-traffic maintain --schedule".',
      )
    return
  }
  if (scheduled.paused)
    return findings.warn('The schedule that looks after the tables is paused: let it go on in the Web UI.')
  findings.check(
    scheduled.retention !== config.retention,
    `Counts are kept ${kept(scheduled.retention)}, and RETENTION says ${kept(config.retention)}: run "web-traffic maintain --schedule".`,
    `The tables are looked after every hour, and counts are kept ${kept(scheduled.retention)}.`,
  )
}

async function isStarted(client: Client, { settings: { group } }: Config): Promise<boolean> {
  try {
    await client.workflow.getHandle(ingestId(group)).describe()
    return true
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false
    throw error
  }
}

async function checkNamespace(client: Client, findings: Findings): Promise<void> {
  const { namespace } = client.options
  const { config } = await client.workflowService.describeNamespace({ namespace })
  const seconds = Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0)
  const kept = formatDuration(seconds * 1_000)
  findings.check(
    seconds * 1_000 < DAY,
    `The namespace "${namespace}" keeps closed workflows for ${kept}: raise its retention to look at yesterday's windows.`,
    `The namespace "${namespace}" is there, and keeps closed workflows for ${kept}.`,
  )
}

async function checkWorkers(
  client: Client,
  { taskQueue, settings }: Config,
  findings: Findings,
): Promise<void> {
  const windows = await seenAt(client, taskQueue, WORKFLOW_TASKS)
  findings.check(
    windows.length === 0,
    `No worker polls the task queue "${taskQueue}": start one with "web-traffic worker", of role windows or all.`,
    `${workers(windows.length, 'polls', 'poll')} the task queue "${taskQueue}".`,
  )
  const queue = pollerTaskQueue(taskQueue)
  // One that reads asks for no other task.
  const waiting = await seenAt(client, queue, ACTIVITY_TASKS)
  const pollers = new Set([...waiting, ...(await readers(client, settings.group))])
  findings.check(
    pollers.size === 0,
    `No worker polls the task queue "${queue}": start one with "web-traffic worker", of role pollers or all.`,
    `${workers(pollers.size, 'reads Kafka or waits', 'read Kafka or wait')} to, on the task queue "${queue}".`,
  )
}

/** The identities of workers that have asked a task queue for tasks of late. */
async function seenAt(client: Client, name: string, taskQueueType: number): Promise<string[]> {
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
async function readers(client: Client, group: string): Promise<string[]> {
  const identities: string[] = []
  const query = `Pipeline = '${group}' AND WorkflowType = 'poller' AND ExecutionStatus = 'Running'`
  for await (const { workflowId } of client.workflow.list({ query })) {
    const { raw } = await client.workflow.getHandle(workflowId).describe()
    for (const { state, lastWorkerIdentity } of raw.pendingActivities ?? [])
      if (Number(state) === STARTED && lastWorkerIdentity) identities.push(lastWorkerIdentity)
  }
  return identities
}

function workers(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? `worker ${one}` : `workers ${many}`}`
}
