import type { Client } from '@temporalio/client'
import type { Config } from '../../config'
import { formatDuration } from '../../core/duration'
import { counted } from '../../core/numbers'
import { pollerTaskQueue } from '../../contract/ids'
import { UserError } from '../../errors'
import { blockedWorkflows, describeBlocked } from '../blocked-workflows'
import { ledgerGone, PipelineClient } from '../pipeline-client'
import { ACTIVITY_TASKS, describeQueue, WORKFLOW_TASKS } from '../../temporal/task-queues'
import { requireSearchAttributes } from '../../temporal/search-attributes'
import { temporalConfig, withTemporal } from '../../temporal/connection'
import type { Check, Findings } from './finding'
import { beatOf, clockProblems } from '../clocks'
import { scheduledMaintenance } from '../maintenance'
import type { PendingActivity } from '../heartbeat'

const DAY = 86_400_000
/** Number of Temporal's API: PendingActivityState. */
const STARTED = 2

export function checkTemporal(config: Config): Check {
  return findings =>
    withTemporal(async client => {
      const { address = 'localhost:7233', tls } = temporalConfig().connectionOptions
      findings.ok(`Temporal answers at ${address}, ${tls ? 'with TLS' : 'without TLS'}.`)
      await checkNamespace(client, findings)
      await requireSearchAttributes(client)
      findings.ok('The search attributes are registered.')
      const pipeline = new PipelineClient(client, config)
      const ledger = await pipeline.ledgerState()
      if (ledger === 'ended') findings.fail(ledgerGone(config.settings.group))
      const hasWorker = await checkWindowWorkers(client, config, findings)
      await checkPollerWorkers(client, config, findings)
      if (ledger === 'running' && hasWorker) await checkLedger(pipeline, findings)
      await checkBlocked(client, config, findings)
      await checkSchedule(client, config, ledger !== undefined, findings)
    })
}

async function checkNamespace(client: Client, findings: Findings): Promise<void> {
  const { namespace } = client.options
  const { config } = await client.workflowService.describeNamespace({ namespace })
  const retention = Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0) * 1_000
  const kept = `The namespace "${namespace}" keeps closed workflows for ${formatDuration(retention)}`
  findings.check(retention < DAY, `${kept}: raise its retention to see yesterday's windows.`, `${kept}.`)
}

async function checkWindowWorkers(
  client: Client,
  { taskQueue }: Config,
  findings: Findings,
): Promise<boolean> {
  const { length } = (await describeQueue(client, taskQueue, WORKFLOW_TASKS)).workers
  findings.check(
    length === 0,
    `No worker polls the task queue "${taskQueue}": start one with "web-traffic worker", with role windows or all.`,
    `The task queue "${taskQueue}" has ${counted(length, 'worker')}.`,
  )
  return length > 0
}

/** A worker can poll and still not be able to run the ledger. */
async function checkLedger(pipeline: PipelineClient, findings: Findings): Promise<void> {
  try {
    await pipeline.status()
    findings.ok('The ledger answers.')
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    findings.fail(error.message)
  }
}

async function checkBlocked(client: Client, { settings }: Config, findings: Findings): Promise<void> {
  const blocked = (await blockedWorkflows(client, settings.group)).filter(({ type }) => type !== 'ingest')
  for (const problem of await describeBlocked(client, blocked, settings.windowSize)) findings.fail(problem)
}

async function checkPollerWorkers(
  client: Client,
  { taskQueue, settings }: Config,
  findings: Findings,
): Promise<void> {
  const queue = pollerTaskQueue(taskQueue)
  // A worker that runs a poller does not poll for another task.
  const idle = (await describeQueue(client, queue, ACTIVITY_TASKS)).workers
  const busy = await runningPollers(client, settings.group)
  const { size } = new Set([
    ...idle.map(({ identity }) => identity),
    ...busy.map(({ activity }) => activity.lastWorkerIdentity),
  ])
  findings.check(
    size === 0,
    `No worker polls the task queue "${queue}": start one with "web-traffic worker", with role pollers or all.`,
    `The task queue "${queue}" has ${counted(size, 'worker')}.`,
  )
  const beats = busy.map(({ activity, asked }) => beatOf(activity, asked)).filter(beat => beat !== undefined)
  const problems = clockProblems(beats)
  for (const problem of problems) findings.warn(problem)
  if (beats.length > 0 && problems.length === 0)
    findings.ok("The clocks of this machine and of the pollers' workers agree with Temporal's.")
}

interface RunningPoller {
  activity: PendingActivity
  /** When it was requested, by this machine's clock, epoch ms. */
  asked: number
}

/** The pollers' activities that a worker runs. */
async function runningPollers(client: Client, group: string): Promise<RunningPoller[]> {
  const running: RunningPoller[] = []
  const query = `Pipeline = '${group}' AND WorkflowType = 'poller' AND ExecutionStatus = 'Running'`
  for await (const { workflowId } of client.workflow.list({ query })) {
    const asked = Date.now()
    const { raw } = await client.workflow.getHandle(workflowId).describe()
    for (const activity of raw.pendingActivities ?? [])
      if (Number(activity.state) === STARTED) running.push({ activity, asked })
  }
  return running
}

async function checkSchedule(
  client: Client,
  { settings: { group }, retention }: Config,
  isStarted: boolean,
  findings: Findings,
): Promise<void> {
  const scheduled = await scheduledMaintenance(client, group)
  if (!scheduled) {
    if (isStarted)
      findings.warn('Maintenance of the tables is not scheduled: run "web-traffic maintain --schedule".')
    return
  }
  if (scheduled.paused)
    return findings.warn('The schedule for maintenance of the tables is paused: resume it in the Web UI.')
  const describe = (time: number | undefined) =>
    time === undefined ? 'forever' : `for ${formatDuration(time)}`
  const kept = describe(scheduled.retention)
  findings.check(
    scheduled.retention !== retention,
    `Counts are kept ${kept}, but RETENTION says ${describe(retention)}: run "web-traffic maintain --schedule".`,
    `Maintenance of the tables runs every hour, and counts are kept ${kept}.`,
  )
}
