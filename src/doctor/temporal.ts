import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import { formatDuration } from '../core/duration'
import { requireSearchAttributes } from '../search-attributes'
import { temporalConfig, withTemporal } from '../temporal'
import type { Check, Findings } from './finding'

const DAY = 86_400_000
/** A worker asks for tasks at least once a minute; Temporal lists one for five more. ms */
const SEEN_WITHIN = 90_000

export function checkTemporal({ taskQueue }: Config): Check {
  return findings =>
    withTemporal(async client => {
      const { address, tls } = temporalConfig().connectionOptions
      findings.ok(`Temporal answers at ${address ?? 'localhost:7233'}, ${tls ? 'by TLS' : 'without TLS'}.`)
      await checkNamespace(client, findings)
      await checkWorkers(client, taskQueue, findings)
      await requireSearchAttributes(client)
      findings.ok('The search attributes are registered.')
    })
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
