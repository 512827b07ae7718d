import { status } from '@grpc/grpc-js'
import { isGrpcServiceError, type Client, type WorkflowHandle } from '@temporalio/client'
import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/common'
import type { Config } from '../config'
import type { AcceptedLog } from '../core/window/protocol'
import { ingestId, pollerId, windowId } from '../contract/ids'
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
import { pipelineAttributes } from '../contract/search-attributes'
import { UserError } from '../errors'
import type { IngestWorkflow } from '../contract/workflows'
import { firstRunOf } from '../temporal/first-run'

/** A busy worker answers a query within a second or two, ms. */
const ANSWER_WITHIN = 6_000

/** Of a query that no worker answers. */
const UNANSWERED: number[] = [status.CANCELLED, status.DEADLINE_EXCEEDED, status.FAILED_PRECONDITION]

/** Calls the ledger, pollers and windows of one pipeline. */
export class PipelineClient {
  private readonly ledger: WorkflowHandle

  constructor(
    private readonly client: Client,
    private readonly config: Config,
  ) {
    this.ledger = client.workflow.getHandle(ingestId(config.settings.group))
  }

  /**
   * @returns undefined if the pipeline was never started, or its ledger was terminated
   * @throws UserError if no worker answers
   */
  async status(): Promise<IngestStatus | undefined> {
    try {
      if ((await this.ledgerState()) !== 'running') return undefined
      const query = () => this.ledger.query(ingestStatus)
      return await ifFound(this.client.withDeadline(Date.now() + ANSWER_WITHIN, query))
    } catch (error) {
      throw isUnanswered(error) ? new UserError(noWorker(this.config.taskQueue)) : error
    }
  }

  /** @throws UserError also if {@link status} is undefined */
  async requireStatus(): Promise<IngestStatus> {
    const status = await this.status()
    if (status) return status
    const { group } = this.config.settings
    if ((await this.ledgerState()) === 'ended') throw new UserError(ledgerGone(group))
    throw new UserError(`There is no pipeline "${group}" yet: start it with "web-traffic start".`)
  }

  /** The ledger never ends by itself. Undefined if Temporal does not know it. */
  async ledgerState(): Promise<'running' | 'ended' | undefined> {
    const isRunning = await this.isRunning(this.ledger)
    return isRunning === undefined ? undefined : isRunning ? 'running' : 'ended'
  }

  /** Distinguishes the pipeline from all others, even of the same name. Undefined if it was never started. */
  id(): Promise<string | undefined> {
    return ifFound(firstRunOf(this.ledger))
  }

  /** Undefined if the window has no workflow: its first delta has not arrived, or Temporal has deleted it. */
  progressOf(start: number): Promise<WindowProgress | undefined> {
    return ifFound(this.window(start).query(windowProgress))
  }

  async isWindowRunning(start: number): Promise<boolean> {
    return (await this.isRunning(this.window(start))) ?? false
  }

  /** The last failure of a window's step that is being retried. */
  async failureOf(start: number): Promise<string | undefined> {
    const { raw } = await this.window(start).describe()
    return raw.pendingActivities?.find(({ lastFailure }) => lastFailure)?.lastFailure?.message ?? undefined
  }

  /** Starts the ledger; false if it already runs. */
  async create(pollers: number, startPositions: Record<number, number>): Promise<boolean> {
    const { settings, taskQueue } = this.config
    try {
      await this.client.workflow.start<IngestWorkflow>('ingest', {
        workflowId: ingestId(settings.group),
        taskQueue,
        // After this time a task of a killed worker goes to another.
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
    await this.ledger.executeUpdate(scale, { args: [pollers] })
  }

  /** Drains every poller, and waits until they have ended. */
  stop(): Promise<void> {
    return this.drain(() => this.scale(0))
  }

  /** Like {@link stop}, but the ledger remembers how many pollers there were. */
  pause(): Promise<void> {
    return this.drain(() => this.ledger.executeUpdate(pause))
  }

  /** Returns the number of pollers from now on. */
  resume(): Promise<number> {
    return this.ledger.executeUpdate(resume)
  }

  /** Accepts the log that Kafka has now, for one partition or for all. */
  acceptLog(partition?: number): Promise<AcceptedLog[]> {
    return this.ledger.executeUpdate(acceptLog, { args: [partition === undefined ? {} : { partition }] })
  }

  private async drain(request: () => Promise<void>): Promise<void> {
    const running = (await this.status())?.running ?? []
    await request()
    const pollers = running.map(n => this.client.workflow.getHandle(pollerId(this.config.settings.group, n)))
    await Promise.all(pollers.map(poller => poller.result().catch(() => undefined)))
  }

  private window(start: number): WorkflowHandle {
    return this.client.workflow.getHandle(windowId(this.config.settings.group, start))
  }

  private async isRunning(handle: WorkflowHandle): Promise<boolean | undefined> {
    const found = await ifFound(handle.describe())
    return found === undefined ? undefined : found.status.name === 'RUNNING'
  }
}

/** Undefined if there is no such workflow. */
export async function ifFound<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined
    throw error
  }
}

function isUnanswered(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return isGrpcServiceError(cause) && UNANSWERED.includes(cause.code)
}

function noWorker(taskQueue: string): string {
  return `No worker answers on the task queue "${taskQueue}": start one with "web-traffic worker", with role windows or all.`
}

/** For a pipeline that has counts but no ledger. */
export function ledgerGone(group: string): string {
  return (
    `The ledger of "${group}" is gone from Temporal (terminated or deleted), and with it the positions up to which ` +
    `records are counted. If it was terminated, reset it: temporal workflow reset --workflow-id ${ingestId(group)} ` +
    '--type LastWorkflowTask --reason "it was terminated". Otherwise start another pipeline with its own KAFKA_GROUP ' +
    'and POSTGRES_DB.'
  )
}
