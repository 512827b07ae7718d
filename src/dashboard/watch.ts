import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { sql } from 'kysely'
import { asUserError } from '../pipeline/database'
import { PipelineClient } from '../pipeline/pipeline-client'
import { closingWindows } from '../pipeline/visibility'
import type { Config } from '../config'
import { topicOffsets, withAdmin } from '../kafka/client'
import { openDatabase, type Db } from '../postgres/database'
import type { WindowProgress } from '../contract/messages'
import type { Live, PartitionEnd, PipelineNow, ResultsNow } from './messages'
import { pipelineNow, SHOWN, shownWindows, type WorkflowLink } from './pipeline-now'
import { Poll } from './poll'
import { reading } from './reading'
import { TemporalLink } from './temporal-link'
import { windowPage } from './windows'

/** Questions cost the pipeline's workers time: a window is asked for as often as it takes to see it fill. */
const ASK_BETWEEN = { least: 1_000, most: 5_000 }
const PROGRESS_WITHIN = 2_000
const MOST_REASONS = 50

/**
 * What is told to everybody who watches: asked of Temporal, Kafka and Postgres once for all of them, and only while
 * there is somebody. None of the three waits for another.
 */
export class PipelineWatch {
  private readonly watchers = new Set<(live: Live) => void>()
  private readonly db: Db
  private readonly temporal = new TemporalLink()
  private readonly pipeline: Poll<PipelineNow>
  private readonly kafka: Poll<PartitionEnd[]>
  private readonly results: Poll<ResultsNow>

  constructor(
    private readonly config: Config,
    private readonly link: WorkflowLink,
  ) {
    // A connection of its own: it does not wait behind what somebody looks up.
    this.db = openDatabase(config.postgres, 1)
    const interval = () => {
      const size = this.pipeline.heard.value?.windowSize ?? 0
      return Math.min(Math.max(size / 20, ASK_BETWEEN.least), ASK_BETWEEN.most)
    }
    const tell = () => this.tell()
    this.pipeline = new Poll(() => this.temporal.use(client => this.askPipeline(client)), interval, tell)
    this.kafka = new Poll(() => this.askKafka(), interval, tell)
    this.results = new Poll(() => this.askPostgres(), interval, tell)
  }

  /** Tells what is known at once, and whatever is heard from then on. Returns what ends it. */
  join(watcher: (live: Live) => void): () => void {
    this.watchers.add(watcher)
    for (const poll of [this.pipeline, this.kafka, this.results]) poll.start()
    watcher(this.live)
    return () => {
      if (this.watchers.delete(watcher) && this.watchers.size === 0) this.rest()
    }
  }

  get watched(): number {
    return this.watchers.size
  }

  async end(): Promise<void> {
    this.watchers.clear()
    this.rest()
    await this.temporal.close()
    await this.db.destroy()
  }

  private rest(): void {
    for (const poll of [this.pipeline, this.kafka, this.results]) poll.end()
  }

  private tell(): void {
    const { live } = this
    for (const watcher of this.watchers) watcher(live)
  }

  private get live(): Live {
    return {
      at: Date.now(),
      pipeline: this.pipeline.heard,
      kafka: this.kafka.heard,
      results: this.results.heard,
    }
  }

  private async askPipeline(client: Client): Promise<PipelineNow> {
    const pipeline = new PipelineClient(client, this.config)
    const status = await pipeline.requireStatus()
    const closing = await closingWindows(client, status, SHOWN)
    const starts = [...closing, ...shownWindows(status.ledger.openWindows)]
    const asked = starts.map(async start => [start, await answerOf(pipeline.progressOf(start))] as const)
    return pipelineNow(status, new Map(await Promise.all(asked)), this.link)
  }

  private askKafka(): Promise<PartitionEnd[]> {
    return withAdmin(this.config.kafka, admin => topicOffsets(admin, this.config.settings.topic))
  }

  private async askPostgres(): Promise<ResultsNow> {
    try {
      return await reading(this.db, async transaction => ({
        newest: (await windowPage()(transaction)).windows,
        rejected: await transaction
          .selectFrom('rejected_counts')
          .select(['reason', sql<number>`sum(records)::bigint`.as('records')])
          .groupBy('reason')
          .orderBy('records', 'desc')
          .orderBy('reason')
          .limit(MOST_REASONS)
          .execute(),
      }))
    } catch (error) {
      throw asUserError(error, this.config)
    }
  }
}

/** A window that was announced and has no workflow yet, or that nobody answers for now, is shown without figures. */
async function answerOf(asking: Promise<WindowProgress | undefined>): Promise<WindowProgress | undefined> {
  const patience = new AbortController()
  try {
    return await Promise.race([
      asking.catch(() => undefined),
      sleep(PROGRESS_WITHIN, undefined, { signal: patience.signal }).catch(() => undefined),
    ])
  } finally {
    patience.abort()
  }
}
