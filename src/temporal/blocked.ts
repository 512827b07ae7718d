import type { Client, WorkflowExecutionDescription } from '@temporalio/client'
import { tsToMs } from '@temporalio/common/lib/time'
import { formatInstant } from '../core/window/tumbling-window'
import { reasonOf } from '../errors'

type History = NonNullable<Awaited<ReturnType<typeof newestEvents>>['history']>
type Event = NonNullable<History['events']>[number]

/** Of an event that ends a workflow task; values of Temporal's enum WorkflowTaskFailedCause. */
const CAUSE = { badSearchAttributes: 23, nonDeterministic: 24 }
/** The server repeats these tasks by itself: the workflow had news, or was reset. */
const HARMLESS_CAUSES = [1, 13, 17, 18, 20]

export const REPLAYING_BUILD =
  'Deploy a worker build that replays open workflows (docs/changing-workflows.md).'
const REMEDY: Record<number, string> = {
  [CAUSE.badSearchAttributes]: 'Run "web-traffic migrate".',
  [CAUSE.nonDeterministic]: REPLAYING_BUILD,
}
const OTHER_REMEDY = 'Deploy a worker build that fixes this; the workflow then continues.'

/** A task whose worker was killed times out once or twice. */
const TIMEOUTS = 3
/** Events per request, and requests. Far more events than a workflow receives between two tasks. */
const PAGE = 100
const MAX_PAGES = 10

/**
 * Why a workflow cannot continue although its workers run, with the remedy: sentences that start after its name. Undefined
 * if nothing blocks it.
 */
export async function whyBlocked(
  client: Client,
  found: WorkflowExecutionDescription,
): Promise<string | undefined> {
  return pausedWorkflow(found) ?? (await failingTask(client, found)) ?? pausedActivity(found)
}

function pausedWorkflow({ status, workflowId, raw }: WorkflowExecutionDescription): string | undefined {
  if (status.name !== 'PAUSED') return undefined
  const { identity, reason, pausedTime } = raw.workflowExtendedInfo?.pauseInfo ?? {}
  return describePause(
    { identity, reason, what: 'it', at: pausedTime },
    `temporal workflow unpause --workflow-id '${workflowId}'`,
  )
}

/** A paused activity stays paused for good. */
function pausedActivity({ workflowId, raw }: WorkflowExecutionDescription): string | undefined {
  const activity = raw.pendingActivities?.find(({ paused }) => paused)
  if (!activity) return undefined
  const { manual, rule, pauseTime } = activity.pauseInfo ?? {}
  const what = `its activity ${activity.activityType?.name}`
  return describePause(
    { ...rule, ...manual, what, at: pauseTime },
    `temporal activity unpause --workflow-id '${workflowId}' --activity-id ${activity.activityId}`,
  )
}

interface Pause {
  identity?: string | null | undefined
  reason?: string | null | undefined
  what: string
  at: Parameters<typeof tsToMs>[0]
}

function describePause({ identity, reason, what, at }: Pause, command: string): string {
  const since = at ? ` at ${formatInstant(tsToMs(at))}` : ''
  return (
    `is paused: ${identity || 'somebody'} paused ${what}${since}${reason ? ` (${reason})` : ''}. Unpause it in the Web UI, ` +
    `or run: ${command}`
  )
}

/** A failing task is repeated for good. The history has its reason, which the description lacks. */
async function failingTask(
  client: Client,
  { workflowId, runId, raw }: WorkflowExecutionDescription,
): Promise<string | undefined> {
  const { attempt } = raw.pendingWorkflowTask ?? {}
  if (!attempt) return undefined
  const ended = await lastEndOfTask(client, workflowId, runId)
  const failed = ended?.workflowTaskFailedEventAttributes
  if (failed && !HARMLESS_CAUSES.includes(Number(failed.cause))) {
    const reason = reasonOf(failed.failure?.message ?? '')
    const remedy = REMEDY[Number(failed.cause)] ?? OTHER_REMEDY
    return `cannot continue: its workflow task fails (attempt ${attempt}): ${reason}. ${remedy}`
  }
  if (ended?.workflowTaskTimedOutEventAttributes && attempt >= TIMEOUTS)
    return (
      `cannot continue: its workflow task times out (attempt ${attempt}), because a worker takes it and does not finish ` +
      "it. See the worker's log, and give it more CPU."
    )
  return undefined
}

/** The newest event that says how a task of the run has ended. The server records only the first of repeated failures. */
async function lastEndOfTask(client: Client, workflowId: string, runId: string): Promise<Event | undefined> {
  let pageToken: Uint8Array | undefined
  for (let page = 0; page < MAX_PAGES; page++) {
    const { history, nextPageToken } = await newestEvents(client, workflowId, runId, pageToken)
    const ended = history?.events?.find(
      event =>
        event.workflowTaskCompletedEventAttributes ??
        event.workflowTaskFailedEventAttributes ??
        event.workflowTaskTimedOutEventAttributes,
    )
    if (ended) return ended
    if (!nextPageToken?.length) return undefined
    pageToken = nextPageToken
  }
  return undefined
}

function newestEvents(
  { workflowService, options }: Client,
  workflowId: string,
  runId: string,
  nextPageToken?: Uint8Array,
) {
  return workflowService.getWorkflowExecutionHistoryReverse({
    namespace: options.namespace,
    execution: { workflowId, runId },
    maximumPageSize: PAGE,
    ...(nextPageToken && { nextPageToken }),
  })
}
