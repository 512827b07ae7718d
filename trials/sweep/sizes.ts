import type { Client } from '@temporalio/client'
import { temporal } from '@temporalio/proto'
import { causes } from '../../src/errors'

const { HistoryEvent } = temporal.api.history.v1
const { EventType, WorkflowTaskFailedCause } = temporal.api.enums.v1
type Event = temporal.api.history.v1.IHistoryEvent

export interface Largest {
  value: number
  /** Workflow id without the group. */
  workflow: string
}

/** The largest messages of a pipeline, in the form that Temporal stores. */
export interface Sizes {
  /** Encoded bytes of an event, by event type. */
  events: Record<string, Largest>
  /** Encoded bytes of all events caused by one workflow task: its commands and its answers to updates. */
  task: Largest
  /** Encoded bytes of a run's history. */
  historyBytes: Largest
  /** Events in a run's history. */
  historyEvents: Largest
  runs: number
}

export interface Histories {
  sizes: Sizes
  /** One line for each run that failed and each workflow task that failed. */
  problems: string[]
}

const RUNS_AT_ONCE = 4
const MAX_PAGE = 1_000
/** The server sends a page as one message of at most 4 MB. Longer histories are read batch by batch. */
const MAX_PAGE_BYTES = 2e6
/** Milliseconds. The server refuses a page that is too large, and the client would retry for minutes. */
const ANSWERED_WITHIN = 20_000
const FINE = ['RUNNING', 'COMPLETED', 'CONTINUED_AS_NEW']
/**
 * Causes after which the server retries the task as designed: a signal or update arrived while the run was completing,
 * or more signals arrived during a task than the server buffers.
 */
const RETRIED = ['UNHANDLED_COMMAND', 'UNHANDLED_UPDATE', 'FORCE_CLOSE_COMMAND']
/** `verify` fails if it finds differences; its exit code is checked elsewhere. */
const MAY_FAIL = ['verify']
const SHOWN = 8

const NONE: Largest = { value: 0, workflow: '' }

/** Reads the raw history of every run of every workflow of a pipeline. */
export async function readHistories(client: Client, group: string, signal: AbortSignal): Promise<Histories> {
  const sizes: Sizes = { events: {}, task: NONE, historyBytes: NONE, historyEvents: NONE, runs: 0 }
  const problems: string[] = []
  const runs = client.workflow.list({ query: `Pipeline = '${group}'` })[Symbol.asyncIterator]()
  const readNext = async () => {
    for (let next = await runs.next(); !next.done; next = await runs.next()) {
      signal.throwIfAborted()
      const { workflowId, runId, type, status } = next.value
      const workflow = workflowId.replace(`${group}/`, '')
      sizes.runs++
      const history = await historyOf(client, workflowId, runId).catch((error: unknown) => {
        problems.push(`${workflow}: reading its history failed: ${causes(error).at(-1)?.message}`)
        return []
      })
      measure(history, workflow, sizes)
      if (!FINE.includes(status.name) && !MAY_FAIL.includes(type))
        problems.push(`${workflow} ended as ${status.name}${reasonOf(history.at(-1))}`)
      problems.push(...failedTasks(history).map(cause => `${workflow}: a workflow task failed with ${cause}`))
    }
  }
  await Promise.all(Array.from({ length: RUNS_AT_ONCE }, readNext))
  return { sizes, problems: shortened(problems) }
}

async function historyOf(client: Client, workflowId: string, runId: string): Promise<Event[]> {
  const { historySize = Infinity } = await client.workflow.getHandle(workflowId, runId).describe()
  const maximumPageSize = historySize < MAX_PAGE_BYTES ? MAX_PAGE : 1
  const events: Event[] = []
  let nextPageToken: Uint8Array | undefined
  do {
    const page = await client.withDeadline(Date.now() + ANSWERED_WITHIN, () =>
      client.workflowService.getWorkflowExecutionHistory({
        namespace: client.options.namespace,
        execution: { workflowId, runId },
        maximumPageSize,
        ...(nextPageToken && { nextPageToken }),
      }),
    )
    events.push(...(page.history?.events ?? []))
    nextPageToken = page.nextPageToken
  } while (nextPageToken?.length)
  return events
}

function measure(history: Event[], workflow: string, sizes: Sizes): void {
  let total = 0
  /** Bytes of the events caused by the last completed workflow task. */
  let caused = 0
  for (const event of history) {
    const bytes = HistoryEvent.encode(event).finish().length
    const kind = kindOf(event)
    total += bytes
    sizes.events[kind] = larger(sizes.events[kind] ?? NONE, bytes, workflow)
    if (event.workflowTaskCompletedEventAttributes) caused = 0
    if (!isCausedByTask(event)) continue
    caused += bytes
    sizes.task = larger(sizes.task, caused, workflow)
  }
  sizes.historyBytes = larger(sizes.historyBytes, total, workflow)
  sizes.historyEvents = larger(sizes.historyEvents, history.length, workflow)
}

/** Accepted updates do not count: they carry the request, which the worker does not send. */
function isCausedByTask(event: Event): boolean {
  if (event.workflowExecutionUpdateCompletedEventAttributes) return true
  return Object.values(event as Record<string, { workflowTaskCompletedEventId?: unknown } | null>).some(
    attributes => Number(attributes?.workflowTaskCompletedEventId ?? 0) > 0,
  )
}

/** The event type in the notation of the Web UI, for example `WorkflowExecutionSignaled`. */
function kindOf({ eventType }: Event): string {
  const name = EventType[eventType ?? 0]!.replace('EVENT_TYPE_', '')
  return name
    .split('_')
    .map(word => word[0] + word.slice(1).toLowerCase())
    .join('')
}

function failedTasks(history: Event[]): string[] {
  return history.flatMap(({ workflowTaskFailedEventAttributes: failed }) => {
    if (!failed) return []
    const cause = WorkflowTaskFailedCause[failed.cause ?? 0]!.replace('WORKFLOW_TASK_FAILED_CAUSE_', '')
    return RETRIED.includes(cause) ? [] : [`${cause}${suffix(failed.failure?.message)}`]
  })
}

function reasonOf(last: Event | undefined): string {
  const { workflowExecutionTerminatedEventAttributes: terminated } = last ?? {}
  const failure = last?.workflowExecutionFailedEventAttributes?.failure
  const by = terminated?.identity ? ` by ${terminated.identity}` : ''
  return `${by}${suffix(terminated?.reason ?? failure?.message)}`
}

const suffix = (message: string | null | undefined) => (message ? `: ${message.slice(0, 200)}` : '')

export function larger(known: Largest, value: number, workflow: string): Largest {
  return value > known.value ? { value, workflow } : known
}

/** Reports a problem that many runs have once. */
function shortened(problems: string[]): string[] {
  const times = new Map<string, number>()
  for (const problem of problems) times.set(problem, (times.get(problem) ?? 0) + 1)
  const lines = [...times].map(([problem, n]) => (n > 1 ? `${problem} (${n} times)` : problem))
  const more = lines.length - SHOWN
  return more > 0 ? [...lines.slice(0, SHOWN), `and ${more} more problems in histories`] : lines
}
