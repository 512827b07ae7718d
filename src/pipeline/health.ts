import type { Client, WorkflowExecutionDescription } from '@temporalio/client'
import { tsToMs } from '@temporalio/common/lib/time'
import { counted, grouped } from '../core/numbers'
import type { PendingRetry } from '../temporal/retry'
import { pollerId } from '../contract/ids'
import { formatInstant } from '../core/window/tumbling-window'
import { describeUnsettled, NAMED_UNSETTLED } from '../contract/unsettled'
import type { LookupTrouble } from '../geo/lookup'
import { describeOtherMembers } from '../kafka/group-members'
import { heartbeatOf, type PendingActivity } from './heartbeat'
import { ifFound } from './pipeline-client'
import type { PipelineStatus } from './status'
import { unreadPartitions } from './unread-partitions'
import { countWaiting, stuckAmong } from './visibility'

type CheckedStatus = Pick<PipelineStatus, 'group' | 'state' | 'pollers' | 'lag'> &
  Partial<Pick<PipelineStatus, 'unsettled' | 'windowSize' | 'topic' | 'partitions' | 'otherMembers'>>

/** An attempt that has run this long no longer has the failure of the attempt before, ms. */
const RECOVERED_AFTER = 30_000

/**
 * The problems that need a person, each as a sentence; empty if the pipeline is healthy.
 *
 * @param maxLag records of all partitions together
 */
export async function findProblems(
  client: Client,
  status: CheckedStatus,
  maxLag = Infinity,
): Promise<string[]> {
  const pollers = await describePollers(client, status)
  return [
    ...readingProblems(status, maxLag),
    ...groupProblems(status, pollers),
    ...pollerProblems(pollers),
    ...(await windowProblems(client, status)),
  ]
}

function readingProblems({ state, lag }: CheckedStatus, maxLag: number): string[] {
  const problems: string[] = []
  if (state !== 'running') problems.push(`The pipeline is ${state}: it reads nothing.`)
  if (lag > maxLag)
    problems.push(`The lag is ${counted(lag, 'record')}, above the limit of ${grouped(maxLag)}.`)
  return problems
}

type FoundPoller = WorkflowExecutionDescription | undefined

/** The workflows of the wanted pollers, from the first. */
async function describePollers(client: Client, { group, pollers }: CheckedStatus): Promise<FoundPoller[]> {
  const found: FoundPoller[] = []
  for (let poller = 1; poller <= pollers.wanted; poller++)
    found.push(await ifFound(client.workflow.getHandle(pollerId(group, poller)).describe()))
  return found
}

/** Programs that take partitions from the pollers, and partitions that no poller reads. */
function groupProblems(
  { group, topic = '', partitions = [], otherMembers = [] }: CheckedStatus,
  pollers: FoundPoller[],
): string[] {
  const problems: string[] = []
  if (otherMembers.length > 0) problems.push(describeOtherMembers(group, topic, otherMembers))
  const activities = pollers.flatMap(poller => poller?.raw.pendingActivities ?? [])
  const unread = unreadPartitions(
    partitions.map(({ partition }) => partition),
    activities,
  )
  if (unread.length > 0)
    problems.push(
      `${unread.length === 1 ? 'Partition' : 'Partitions'} ${unread.join(', ')} of "${topic}" ` +
        `${unread.length === 1 ? 'is' : 'are'} read by no poller, so every window stays open. If no other problem ` +
        'explains it, run "web-traffic pause" and "web-traffic resume": the pollers then join the Kafka group again.',
    )
  return problems
}

function pollerProblems(pollers: FoundPoller[]): string[] {
  return pollers.flatMap((poller, i) => {
    const problem = pollerProblem(poller)
    return problem ? [`Poller ${i + 1} ${problem}`] : []
  })
}

async function windowProblems(
  client: Client,
  { group, unsettled = [], windowSize = 0 }: CheckedStatus,
): Promise<string[]> {
  const starts = unsettled.map(({ start }) => start)
  const stuckStarts = await stuckAmong(client, group, starts)
  // A stuck window that has not answered is counted below.
  const shown = unsettled.filter(({ start, balance }) => balance !== null || !stuckStarts.has(start))
  const problems = shown.slice(0, NAMED_UNSETTLED).map(window => describeUnsettled(window, windowSize))
  const more = shown.length - NAMED_UNSETTLED
  if (more > 0)
    problems.push(`${are(more, 'more window')} incomplete or silent: "web-traffic windows" lists them.`)
  const { stuck, waiting } = await countWaiting(client, group)
  const incomplete = shown.filter(({ start }) => stuckStarts.has(start)).length
  if (stuck > incomplete)
    problems.push(
      `${are(stuck - incomplete, 'window')} stuck: see the reason in "web-traffic windows", fix it, then run ` +
        '"web-traffic retry".',
    )
  if (waiting > 0)
    problems.push(
      `${are(waiting, 'workflow')} waiting for Postgres to record late events, rejected records or parts of windows.`,
    )
  return problems
}

const are = (count: number, noun: string) => `${counted(count, noun)} ${count === 1 ? 'is' : 'are'}`

function pollerProblem(found: FoundPoller): string | undefined {
  if (!found) return 'does not exist yet: the ledger starts it within a minute.'
  const { raw, status } = found
  if (status.name === 'RUNNING') return activityProblem(raw.pendingActivities?.[0])
  return `has ended (${status.name.toLowerCase().replaceAll('_', ' ')}): the ledger starts it again within a minute.`
}

function activityProblem(activity?: PendingActivity): string | undefined {
  const failure = activity?.lastFailure?.message
  const failed = failure ? `fails (attempt ${activity?.attempt}): ${failure}` : undefined
  if (activity?.lastStartedTime) {
    const reason = heartbeatTrouble(activity)
    if (reason) return reason
    const isRecent = Date.now() - tsToMs(activity.lastStartedTime) < RECOVERED_AFTER
    return isRecent ? failed : undefined
  }
  const nextTry = activity?.nextAttemptScheduleTime
  if (failed && nextTry && tsToMs(nextTry) > Date.now()) return failed
  return `waits for a worker: start one with "web-traffic worker", with role pollers or all.${failed ? ` It ${failed}` : ''}`
}

/** The trouble with Temporal, Postgres or the lookup service that a poller's heartbeat reports. */
function heartbeatTrouble(activity: PendingActivity): string | undefined {
  const { enrichment, temporal } = heartbeatOf<{ enrichment: LookupTrouble; temporal: PendingRetry }>(
    activity,
  )
  if (temporal)
    return `has been waiting for ${temporal.on ?? 'Temporal'} since ${formatInstant(temporal.since)}: ${temporal.reason}.`
  if (!enrichment) return undefined
  const { state, reason, attempt } = enrichment
  const what = state === 'retrying' ? 'waits for country lookups' : 'counts events without their country'
  return `${what}: ${reason} (attempt ${attempt})`
}
