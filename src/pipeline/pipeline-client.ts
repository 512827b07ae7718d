import type { Client, WorkflowHandle } from '@temporalio/client'
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import type { Config } from '../config'
import type { AcceptedLog } from '../core/window/protocol'
import { ingestId, pollerId } from '../contract/ids'
import { acceptLog, ingestStatus, pause, resume, scale, type IngestStatus } from '../contract/messages'
import { pipelineAttributes } from '../contract/search-attributes'
import { UserError } from '../errors'
import type { IngestWorkflow } from '../contract/workflows'
import { ask, ifFound, isOpen } from '../temporal/ask'
import { firstRunOf } from '../temporal/first-run'

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
   * @throws UserError that says why the ledger does not answer
   */
  async status(): Promise<IngestStatus | undefined> {
    if ((await this.ledgerState()) !== 'running') return undefined
    return ask(this.client, this.ledger, 'The ledger', handle => handle.query(ingestStatus))
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
    const found = await ifFound(this.ledger.describe())
    return found && (isOpen(found) ? 'running' : 'ended')
  }

  /** Distinguishes the pipeline from all others, even of the same name. Undefined if it was never started. */
  id(): Promise<string | undefined> {
    return ifFound(firstRunOf(this.ledger))
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
