import { status } from '@grpc/grpc-js'
import { isGrpcServiceError, type Client, type WorkflowHandle } from '@temporalio/client'
import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/common'
import type { Config } from '../config'
import { formatDuration } from '../core/duration'
import type { AcceptedLog } from '../core/window/protocol'
import { ingestId, pollerId, windowId } from '../contract/ids'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/window/tumbling-window'
import {
  acceptLog,
  ingestStatus,
  pause,
  resume,
  scale,
  windowProgress,
  type IngestStatus,
  type WindowProgress,
} from '../contract/messages'
import { pipelineAttributes, windowStart } from '../contract/search-attributes'
import { UserError } from '../errors'
import type { IngestWorkflow } from '../contract/workflows'

/** The pipeline as the client sees it: its ingest workflow. */
export class Pipeline {
  private readonly handle: WorkflowHandle

  constructor(
    private readonly client: Client,
    private readonly config: Config,
  ) {
    this.handle = client.workflow.getHandle(ingestId(config.settings.group))
  }

  /**
   * Undefined where the pipeline was never started, or was terminated.
   *
   * @throws UserError where no worker runs that could answer
   */
  async status(): Promise<IngestStatus | undefined> {
    try {
      if ((await this.handle.describe()).status.name !== 'RUNNING') return undefined
      return await this.client.withDeadline(Date.now() + ANSWER_WITHIN, () => this.handle.query(ingestStatus))
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined
      throw isUnanswered(error) ? new UserError(noWorker(this.config.taskQueue)) : error
    }
  }

  /** @throws UserError also where {@link status} is undefined */
  async requireStatus(): Promise<IngestStatus> {
    const status = await this.status()
    if (status) return status
    const { group } = this.config.settings
    if (await this.hasEnded()) throw new UserError(ledgerGone(group))
    throw new UserError(`There is no pipeline "${group}" yet: start it with "web-traffic start".`)
  }

  /** Whether the ledger, which goes on for ever by itself, was terminated. */
  async hasEnded(): Promise<boolean> {
    try {
      return (await this.handle.describe()).status.name !== 'RUNNING'
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false
      throw error
    }
  }

  /** Undefined where no workflow of the window runs: its first delta is still on its way, or it was forgotten. */
  async progressOf(start: number): Promise<WindowProgress | undefined> {
    try {
      return await this.window(start).query(windowProgress)
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined
      throw error
    }
  }

  /** Whether a run of the window is under way. */
  async runs(start: number): Promise<boolean> {
    try {
      return (await this.window(start).describe()).status.name === 'RUNNING'
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false
      throw error
    }
  }

  /** What the last attempt of a window's step failed with, where it is tried again. */
  async failureOf(start: number): Promise<string | undefined> {
    const { raw } = await this.window(start).describe()
    return raw.pendingActivities?.find(({ lastFailure }) => lastFailure)?.lastFailure?.message ?? undefined
  }

  /**
   * Windows that were told to close and have not ended, since Postgres has not taken them yet.
   *
   * @returns their starts, epoch ms; the newest where there are more than `limit`, oldest first
   */
  async closingWindows(
    { settings: { group, allowedLateness }, ledger, frontier }: IngestStatus,
    limit: number,
  ): Promise<number[]> {
    const open = new Set(ledger.openWindows)
    const told = frontier === null ? '' : ` OR WindowEnd <= '${formatInstant(frontier - allowedLateness)}'`
    const query =
      `Pipeline = '${group}' AND WorkflowType = 'window' AND ExecutionStatus = 'Running' ` +
      `AND (WindowStatus = 'stuck'${told})`
    const closing: number[] = []
    for await (const { typedSearchAttributes } of this.client.workflow.list({ query })) {
      const start = typedSearchAttributes.get(windowStart)?.getTime()
      if (start !== undefined && !open.has(start)) closing.push(start)
    }
    return closing.sort((a, b) => a - b).slice(-limit)
  }

  /** Whether anything that was counted is on its way to Postgres, also of a ledger that is gone. */
  async hasUnderWay(): Promise<boolean> {
    const { group } = this.config.settings
    const carriers = `WorkflowType IN ('window', 'piece', 'exceptions')`
    const query = `Pipeline = '${group}' AND ${carriers} AND ExecutionStatus = 'Running'`
    return (await this.client.workflow.count(query)).count > 0
  }

  private window(start: number): WorkflowHandle {
    return this.client.workflow.getHandle(windowId(this.config.settings.group, start))
  }

  /** Starts the ledger; false where it runs already, or ran and kept its settings. */
  async create(pollers: number, startPositions: Record<number, number>): Promise<boolean> {
    const { settings, taskQueue } = this.config
    try {
      await this.client.workflow.start<IngestWorkflow>('ingest', {
        workflowId: ingestId(settings.group),
        taskQueue,
        // A task that was with a worker when it was killed is given to another after so long.
        workflowTaskTimeout: '7s',
        args: [{ settings, taskQueue, pollers, startPositions }],
        staticSummary: `the ledger of ${settings.topic}`,
        typedSearchAttributes: pipelineAttributes(settings),
      })
      return true
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false
      throw error
    }
  }

  async scale(pollers: number): Promise<void> {
    await this.handle.executeUpdate(scale, { args: [pollers] })
  }

  /** Tells every poller to drain, and waits until they have. */
  stop(): Promise<void> {
    return this.drained(() => this.scale(0))
  }

  /** As {@link stop}, and the ledger remembers how many there were. */
  pause(): Promise<void> {
    return this.drained(() => this.handle.executeUpdate(pause))
  }

  /** How many pollers there are from now on. */
  resume(): Promise<number> {
    return this.handle.executeUpdate(resume)
  }

  /** Goes on in the log that is there now; in all partitions where none is named. */
  acceptLog(partition?: number): Promise<AcceptedLog[]> {
    return this.handle.executeUpdate(acceptLog, { args: [partition === undefined ? {} : { partition }] })
  }

  private async drained(tell: () => Promise<void>): Promise<void> {
    const running = (await this.status())?.running ?? []
    await tell()
    await Promise.all(
      running.map(n =>
        this.client.workflow
          .getHandle(pollerId(this.config.settings.group, n))
          .result()
          .catch(() => undefined),
      ),
    )
  }
}

/** Windows that are stuck, and workflows with exceptions or pieces that Postgres should have had by now. */
export async function countWaiting(
  client: Client,
  group: string,
): Promise<{ stuck: number; waiting: number }> {
  const running = `Pipeline = '${group}' AND ExecutionStatus = 'Running'`
  const before = new Date(Date.now() - RECORDED_WITHIN).toISOString()
  const [{ count: stuck }, { count: waiting }] = await Promise.all([
    client.workflow.count(`${running} AND WindowStatus = 'stuck'`),
    client.workflow.count(
      `${running} AND WorkflowType IN ('exceptions', 'piece') AND StartTime < '${before}'`,
    ),
  ])
  return { stuck, waiting }
}

/** Which of these windows are found as stuck. */
export async function stuckAmong(client: Client, group: string, starts: number[]): Promise<Set<number>> {
  const stuck = new Set<number>()
  if (starts.length === 0) return stuck
  const wanted = new Set(starts)
  const query = `Pipeline = '${group}' AND ExecutionStatus = 'Running' AND WindowStatus = 'stuck'`
  for await (const { typedSearchAttributes } of client.workflow.list({ query })) {
    const start = typedSearchAttributes.get(windowStart)?.getTime()
    if (start !== undefined && wanted.has(start)) stuck.add(start)
  }
  return stuck
}

export function stateOf({
  pollers,
  running,
  paused,
}: Pick<IngestStatus, 'pollers' | 'running' | 'paused'>): 'running' | 'draining' | 'paused' | 'stopped' {
  if (pollers > 0) return 'running'
  if (running.length > 0) return 'draining'
  return paused > 0 ? 'paused' : 'stopped'
}

/** Whether a query failed because nobody runs the workflow: no worker polls, or none answers in time. */
function isUnanswered(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return isGrpcServiceError(cause) && UNANSWERED.includes(cause.code)
}

/** A flush's late and rejected records, or a piece of a window, are in Postgres within seconds. */
const RECORDED_WITHIN = 60_000

/** A worker that is alive answers a query in milliseconds, and one that is busy in a second or two. */
const ANSWER_WITHIN = 6_000

const UNANSWERED: number[] = [status.CANCELLED, status.DEADLINE_EXCEEDED, status.FAILED_PRECONDITION]

function noWorker(taskQueue: string): string {
  return `No worker answers on the task queue "${taskQueue}": start one with "web-traffic worker", of role windows or all.`
}

/** What has happened to a pipeline that has counts and no ledger, and what to do. */
export function ledgerGone(group: string): string {
  return (
    `The ledger of "${group}" is gone from Temporal (terminated, or forgotten), and with it how far its counts go. ` +
    `Where it was terminated bring it back: temporal workflow reset --workflow-id ${ingestId(group)} ` +
    '--type LastWorkflowTask --reason "it was terminated"; or start another pipeline with a KAFKA_GROUP and ' +
    'POSTGRES_DB of its own.'
  )
}

/** Refuses settings other than those the pipeline was started with, naming each. */
export function checkSettings(running: PipelineSettings, wanted: PipelineSettings): void {
  const differing = (Object.keys(wanted) as (keyof PipelineSettings)[]).filter(
    key => running[key] !== wanted[key],
  )
  if (differing.length === 0) return
  const show = (value: string | number) => (typeof value === 'number' ? formatDuration(value) : value)
  const named = differing.map(key => `${key} is ${show(running[key])}, not ${show(wanted[key])}`)
  throw new UserError(
    `The pipeline "${running.group}" keeps the settings it was started with: ${named.join('; ')}. ` +
      'Set them alike, or start another pipeline with a KAFKA_GROUP and POSTGRES_DB of its own.',
  )
}
