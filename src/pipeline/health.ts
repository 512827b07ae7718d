import type { Client, WorkflowExecutionDescription } from '@temporalio/client'
import { defaultPayloadConverter, WorkflowNotFoundError } from '@temporalio/common'
import { tsToMs } from '@temporalio/common/lib/time'
import type { PendingRetry } from '../temporal/retry'
import { pollerId } from '../contract/ids'
import { formatInstant } from '../core/window/tumbling-window'
import { describeUnsettled, NAMED_UNSETTLED } from '../contract/unsettled'
import type { LookupTrouble } from '../geo/lookup'
import { countWaiting, stuckAmong } from './pipeline'
import type { PipelineStatus } from './status'

type PendingActivity = NonNullable<WorkflowExecutionDescription['raw']['pendingActivities']>[number]

/** An attempt that has run for so long has left behind what the one before it failed with. */
const RECOVERED_AFTER = 30_000

/**
 * Why somebody should look at the pipeline, each as a sentence; empty where it is healthy.
 *
 * @param maxLag records that may be unread, of all partitions together
 */
export async function findProblems(
  client: Client,
  {
    group,
    state,
    pollers,
    lag,
    unsettled = [],
    windowSize = 0,
  }: Pick<PipelineStatus, 'group' | 'state' | 'pollers' | 'lag'> &
    Partial<Pick<PipelineStatus, 'unsettled' | 'windowSize'>>,
  maxLag = Infinity,
): Promise<string[]> {
  const problems: string[] = []
  if (state !== 'running') problems.push(`Nothing is read: it is ${state}.`)
  if (lag > maxLag)
    problems.push(`${count(lag, 'record')} unread, more than ${maxLag.toLocaleString('en-US')}.`)
  for (let poller = 1; poller <= pollers.wanted; poller++) {
    const problem = await pollerProblem(client, group, poller)
    if (problem) problems.push(`Poller ${poller} ${problem}`)
  }
  const named = await stuckAmong(
    client,
    group,
    unsettled.map(({ start }) => start),
  )
  // One that waits for Postgres says so itself.
  const shown = unsettled.filter(({ start, balance }) => balance !== null || !named.has(start))
  for (const window of shown.slice(0, NAMED_UNSETTLED)) problems.push(describeUnsettled(window, windowSize))
  if (shown.length > NAMED_UNSETTLED)
    problems.push(
      `${count(shown.length - NAMED_UNSETTLED, 'more window')} incomplete or silent: "web-traffic windows" names them.`,
    )
  const { stuck, waiting } = await countWaiting(client, group)
  const incomplete = unsettled.filter(({ start, balance }) => balance !== null && named.has(start)).length
  if (stuck > incomplete)
    problems.push(
      `${count(stuck - incomplete, 'window')} stuck: "web-traffic windows" says why; after the mend run "web-traffic retry".`,
    )
  if (waiting > 0)
    problems.push(
      `${count(waiting, 'workflow')} with late or rejected records, or pieces of windows, waiting for Postgres.`,
    )
  return problems
}

async function pollerProblem(client: Client, group: string, poller: number): Promise<string | undefined> {
  try {
    const { raw, status } = await client.workflow.getHandle(pollerId(group, poller)).describe()
    if (status.name !== 'RUNNING')
      return `has ended (${status.name.toLowerCase().replaceAll('_', ' ')}): the ledger starts it again within a minute.`
    return activityProblem(raw.pendingActivities?.[0])
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'is not there: the ledger starts it within a minute.'
    throw error
  }
}

function activityProblem(activity?: PendingActivity): string | undefined {
  const failure = activity?.lastFailure?.message
  const failed = failure ? `fails, at attempt ${activity?.attempt}: ${failure}` : undefined
  if (activity?.lastStartedTime) {
    const reason = heartbeatTrouble(activity.heartbeatDetails)
    if (reason) return reason
    const isFresh = Date.now() - tsToMs(activity.lastStartedTime) < RECOVERED_AFTER
    return isFresh ? failed : undefined
  }
  const nextTry = activity?.nextAttemptScheduleTime
  if (failed && nextTry && tsToMs(nextTry) > Date.now()) return failed
  return `waits for a worker: start one with "web-traffic worker", of role pollers or all.${failed ? ` It ${failed}` : ''}`
}

/** What a poller's heartbeat says of a look-up service, or of Temporal, that does not answer. */
function heartbeatTrouble(details: PendingActivity['heartbeatDetails']): string | undefined {
  const [payload] = details?.payloads ?? []
  if (!payload) return undefined
  const { enrichment, temporal } =
    defaultPayloadConverter.fromPayload<{ enrichment?: LookupTrouble; temporal?: PendingRetry } | null>(
      payload,
    ) ?? {}
  if (temporal)
    return `waits for ${temporal.on ?? 'Temporal'} since ${formatInstant(temporal.since)}: ${temporal.reason}.`
  if (!enrichment) return undefined
  const { state, reason, attempt } = enrichment
  const what = state === 'retrying' ? 'waits for its countries' : 'counts events without their country'
  return `${what}: ${reason} (attempt ${attempt})`
}

function count(n: number, what: string): string {
  return `${n.toLocaleString('en-US')} ${what}${n === 1 ? ' is' : 's are'}`
}
