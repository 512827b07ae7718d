import type { Client, WorkflowExecutionDescription } from '@temporalio/client'
import { tsToMs } from '@temporalio/common/lib/time'
import { counted, countedAre, grouped } from '../core/numbers'
import type { PendingRetry } from '../temporal/retry'
import { pollerId } from '../contract/ids'
import { joinSentences } from '../contract/markdown'
import { formatInstant } from '../core/window/tumbling-window'
import type { LookupTrouble } from '../geo/lookup'
import { describeUnreadable, type UnreadableBatch } from '../kafka/codecs'
import { describeOtherMembers } from '../kafka/group-members'
import { ifFound, isOpen } from '../temporal/ask'
import { whyBlocked } from '../temporal/blocked'
import { beatOf, clockProblems, type Beat } from './clocks'
import { heartbeatOf, type PendingActivity } from './heartbeat'
import type { PipelineStatus } from './status'
import { unreadPartitions } from './unread-partitions'
import { countWaiting } from './visibility'
import { windowProblems } from './window-problems'

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
  const asked = Date.now()
  const pollers = await describePollers(client, status)
  return [
    ...readingProblems(status, maxLag),
    ...groupProblems(status, pollers),
    ...(await pollerProblems(client, pollers)),
    ...clockProblems(beatsOf(pollers, asked)),
    ...(await workflowProblems(client, status)),
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

async function pollerProblems(client: Client, pollers: FoundPoller[]): Promise<string[]> {
  const problems = await Promise.all(pollers.map(poller => pollerProblem(client, poller)))
  return problems.flatMap((problem, i) => (problem ? [`Poller ${i + 1} ${problem}`] : []))
}

function beatsOf(pollers: FoundPoller[], asked: number): Beat[] {
  const activities = pollers.flatMap(poller => poller?.raw.pendingActivities ?? [])
  return activities.map(activity => beatOf(activity, asked)).filter(beat => beat !== undefined)
}

async function workflowProblems(
  client: Client,
  { group, unsettled = [], windowSize = 0 }: CheckedStatus,
): Promise<string[]> {
  const problems = await windowProblems(client, group, unsettled, windowSize)
  const waiting = await countWaiting(client, group)
  if (waiting > 0)
    problems.push(
      `${countedAre(waiting, 'workflow')} waiting for Postgres to record late events, rejected records or parts of windows.`,
    )
  return problems
}

async function pollerProblem(client: Client, found: FoundPoller): Promise<string | undefined> {
  if (!found) return 'does not exist yet: the ledger starts it within a minute.'
  const { raw, status } = found
  if (isOpen(found)) return (await whyBlocked(client, found)) ?? activityProblem(raw.pendingActivities?.[0])
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
  const queue = activity?.activityOptions?.taskQueue?.name
  return joinSentences(
    `waits for a worker${queue ? ` on the task queue "${queue}"` : ''}: start one with "web-traffic worker", with role ` +
      'pollers or all.',
    failed && `It ${failed}`,
  )
}

interface Trouble {
  enrichment: LookupTrouble
  temporal: PendingRetry
  unreadable: UnreadableBatch[]
}

/** The trouble with Temporal, Postgres, Kafka's records or the lookup service that a poller's heartbeat reports. */
function heartbeatTrouble(activity: PendingActivity): string | undefined {
  const { enrichment, temporal, unreadable } = heartbeatOf<Trouble>(activity)
  if (unreadable) return `cannot read ${unreadable.map(describeUnreadable).join('; ')}.`
  if (temporal)
    return `has been waiting for ${temporal.on ?? 'Temporal'} since ${formatInstant(temporal.since)}: ${temporal.reason}.`
  if (!enrichment) return undefined
  const { state, reason, attempt } = enrichment
  const what = state === 'retrying' ? 'waits for country lookups' : 'counts events without their country'
  return `${what}: ${reason} (attempt ${attempt})`
}
