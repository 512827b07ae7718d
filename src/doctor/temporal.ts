import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import { scheduledMaintenance } from '../cli/maintain'
import type { Config } from '../config'
import { formatDuration } from '../core/duration'
import { ingestId } from '../core/names'
import { requireSearchAttributes } from '../search-attributes'
import { withTemporal } from '../temporal'
import type { Check, Findings } from './finding'

const DAY = 86_400_000
/** A worker asks for tasks at least once a minute; Temporal lists one for five more. ms */
const SEEN_WITHIN = 90_000

export function checkTemporal(config: Config): Check {
  return findings =>
    withTemporal(async client => {
      await checkNamespace(client, findings)
      await checkWorkers(client, config.taskQueue, findings)
      await requireSearchAttributes(client)
      findings.ok('The search attributes are registered.')
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

async function checkWorkers(client: Client, taskQueue: string, findings: Findings): Promise<void> {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace: client.options.namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: 1 /* TASK_QUEUE_TYPE_WORKFLOW */,
  })
  const seen = (pollers ?? []).filter(
    ({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1_000 > Date.now() - SEEN_WITHIN,
  ).length
  findings.check(
    seen === 0,
    `No worker polls the task queue "${taskQueue}": start one with "web-traffic worker".`,
    `${seen} ${seen === 1 ? 'worker polls' : 'workers poll'} the task queue "${taskQueue}".`,
  )
}
