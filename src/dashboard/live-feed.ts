import type { Client } from '@temporalio/client'
import { sql } from 'kysely'
import { asUserError } from '../pipeline/database'
import { closingWindows } from '../pipeline/visibility'
import { PipelineClient } from '../pipeline/pipeline-client'
import { WindowClient } from '../pipeline/window-client'
import type { Config } from '../config'
import { topicOffsets, withAdmin } from '../kafka/client'
import { openDatabase, type Db } from '../postgres/database'
import type { LiveStatus, PipelineSummary, RecentResults } from './api'
import { MAX_SHOWN, shownWindows, summarizePipeline, type WorkflowUrl } from './pipeline-summary'
import { Polling } from './polling'
import { readOnly } from './read-only'
import { ReconnectingClient } from './temporal-client'
import { windowPage } from './windows'

/** Bounds of the pause between polls: they cost the workers time, so they follow the window size. */
const INTERVAL = { min: 1_000, max: 5_000 }
const PROGRESS_TIMEOUT = 2_000
const MAX_REASONS = 50

type Subscriber = (status: LiveStatus) => void

/** Polls Temporal, Kafka and Postgres independently, once for all subscribers, and only while there are any. */
export class LiveFeed {
  private readonly subscribers = new Set<Subscriber>()
  private readonly db: Db
  private readonly temporal = new ReconnectingClient()
  private readonly pipeline: Polling<PipelineSummary>
  private readonly kafka: Polling<Record<number, number>>
  private readonly results: Polling<RecentResults>

  constructor(
    private readonly config: Config,
    private readonly workflowUrl: WorkflowUrl,
  ) {
    // Not shared with the page's queries, so that a slow one does not delay the feed.
    this.db = openDatabase(config.postgres, 1)
    const interval = () => {
      const size = this.pipeline.state.value?.windowSize ?? 0
      return Math.min(Math.max(size / 20, INTERVAL.min), INTERVAL.max)
    }
    const publish = () => this.publish()
    const readPipeline = () => this.temporal.use(client => this.readPipeline(client))
    this.pipeline = new Polling(readPipeline, interval, publish)
    this.kafka = new Polling(() => this.readKafka(), interval, publish)
    this.results = new Polling(() => this.readPostgres(), interval, publish)
  }

  /** Sends the current status at once, then every change. Returns the function that unsubscribes. */
  subscribe(subscriber: Subscriber): () => void {
    this.subscribers.add(subscriber)
    for (const polling of this.polled) polling.start()
    subscriber(this.status)
    return () => {
      if (this.subscribers.delete(subscriber) && this.subscribers.size === 0) this.stop()
    }
  }

  get subscriberCount(): number {
    return this.subscribers.size
  }

  async close(): Promise<void> {
    this.subscribers.clear()
    this.stop()
    await this.temporal.close()
    await this.db.destroy()
  }

  private get polled() {
    return [this.pipeline, this.kafka, this.results]
  }

  private stop(): void {
    for (const polling of this.polled) polling.stop()
  }

  private publish(): void {
    const { status } = this
    for (const subscriber of this.subscribers) subscriber(status)
  }

  private get status(): LiveStatus {
    const { pipeline, kafka, results } = this
    return { at: Date.now(), pipeline: pipeline.state, kafka: kafka.state, results: results.state }
  }

  private async readPipeline(client: Client): Promise<PipelineSummary> {
    const pipeline = new PipelineClient(client, this.config)
    const status = await pipeline.requireStatus()
    const closing = await closingWindows(client, status, MAX_SHOWN)
    const starts = [...closing, ...shownWindows(status.ledger.openWindows)]
    // A window that does not answer in time is shown without figures.
    const { group, windowSize } = status.settings
    const windows = new WindowClient(client, group, windowSize)
    const progressOf = (start: number) => windows.progressOf(start, PROGRESS_TIMEOUT).catch(() => undefined)
    const progress = starts.map(async start => [start, await progressOf(start)] as const)
    return summarizePipeline(status, new Map(await Promise.all(progress)), this.workflowUrl)
  }

  private async readKafka(): Promise<Record<number, number>> {
    const { kafka, settings } = this.config
    const offsets = await withAdmin(kafka, admin => topicOffsets(admin, settings.topic))
    return Object.fromEntries(offsets.map(({ partition, high }) => [partition, high]))
  }

  private async readPostgres(): Promise<RecentResults> {
    try {
      return await readOnly(this.db, async transaction => ({
        newest: (await windowPage()(transaction)).windows,
        rejected: await transaction
          .selectFrom('rejected_counts')
          .select(['reason', sql<number>`sum(records)::bigint`.as('records')])
          .groupBy('reason')
          .orderBy('records', 'desc')
          .orderBy('reason')
          .limit(MAX_REASONS)
          .execute(),
      }))
    } catch (error) {
      throw asUserError(error, this.config)
    }
  }
}
