import type { Client } from '@temporalio/client'
import { defaultPayloadConverter } from '@temporalio/common'
import { formatInstant } from '../core/window/tumbling-window'

/** One run of a workflow. */
export interface Run {
  workflowId: string
  runId: string
  startTime: Date
  running: boolean
}

/** A step to Postgres that was done, with what it was given. */
export interface Write {
  activity: string
  input: unknown
}

type Kind = 'window' | 'piece' | 'exceptions'

/** The runs of a kind that ended at or after a time (epoch ms), or go on. */
export async function* runsSince(
  client: Client,
  group: string,
  kind: Kind,
  since: number,
): AsyncGenerator<Run> {
  const recent = `(CloseTime >= '${formatInstant(since)}' OR ExecutionStatus = 'Running')`
  const query = `Pipeline = '${group}' AND WorkflowType = '${kind}' AND ${recent}`
  for await (const { workflowId, runId, startTime, status } of client.workflow.list({ query }))
    yield { workflowId, runId, startTime, running: status.name === 'RUNNING' }
}

/** The steps to Postgres that a run has done, in the order in which it began them. */
export async function writesOf(client: Client, { workflowId, runId }: Run): Promise<Write[]> {
  const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory()
  const done = new Set(
    events?.flatMap(({ activityTaskCompletedEventAttributes: completed }) =>
      completed?.scheduledEventId ? [Number(completed.scheduledEventId)] : [],
    ),
  )
  return (events ?? []).flatMap(({ eventId, activityTaskScheduledEventAttributes: scheduled }) => {
    const [payload] = scheduled?.input?.payloads ?? []
    if (!payload || !done.has(Number(eventId))) return []
    const activity = scheduled?.activityType?.name ?? ''
    return [{ activity, input: defaultPayloadConverter.fromPayload(payload) }]
  })
}
