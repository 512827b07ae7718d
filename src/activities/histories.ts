import type { Client } from '@temporalio/client'
import { defaultPayloadConverter } from '@temporalio/common'
import { formatInstant } from '../core/window/tumbling-window'

export interface Run {
  workflowId: string
  runId: string
  startTime: Date
  running: boolean
}

export interface Write {
  activity: string
  input: unknown
}

/** The runs of a workflow type that are running or ended at or after `since` (epoch ms). */
export async function* runsSince(
  client: Client,
  group: string,
  type: 'window' | 'piece' | 'exceptions',
  since: number,
): AsyncGenerator<Run> {
  const recent = `(CloseTime >= '${formatInstant(since)}' OR ExecutionStatus = 'Running')`
  const query = `Pipeline = '${group}' AND WorkflowType = '${type}' AND ${recent}`
  for await (const { workflowId, runId, startTime, status } of client.workflow.list({ query }))
    yield { workflowId, runId, startTime, running: status.name === 'RUNNING' }
}

/** The completed activities of a run, in the order in which they were scheduled. */
export async function writesOf(client: Client, { workflowId, runId }: Run): Promise<Write[]> {
  const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory()
  const completed = new Set(
    events?.map(event => Number(event.activityTaskCompletedEventAttributes?.scheduledEventId)),
  )
  return (events ?? []).flatMap(({ eventId, activityTaskScheduledEventAttributes: scheduled }) => {
    const [payload] = scheduled?.input?.payloads ?? []
    if (!payload || !completed.has(Number(eventId))) return []
    const activity = scheduled?.activityType?.name ?? ''
    return [{ activity, input: defaultPayloadConverter.fromPayload(payload) }]
  })
}
