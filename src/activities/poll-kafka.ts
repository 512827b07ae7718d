import { Context } from '@temporalio/activity'
import type { Config } from '../config'
import type { PollInput, PollResult } from '../contract/activities'
import { formatInstant } from '../core/window/tumbling-window'
import { LookupError, type BatchLookup, type Lookup } from '../geo/lookup'
import { kafkaClient } from '../kafka/client'
import { GroupReader } from '../kafka/group-reader'
import { logger as root } from '../log'
import type { Db } from '../postgres/database'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import { PendingRetries } from '../temporal/retry'
import { TemporalPort } from './pipeline-port'
import { Poller, type PollerProgress } from './poller'
import { readerRules } from './reader-rules'
import { PostgresStaging } from './staging'
import { toApplicationFailure, toReadFailure } from './to-application-failure'

export interface PollingConnections {
  config: Pick<Config, 'kafka' | 'postgres'>
  db: Db
  namespace: string
  metrics: PollerMetrics
  lookup: Lookup
}

/**
 * Reads the topic as a member of the consumer group and counts into windows. A cancellation (a drain, or the worker's
 * shutdown) makes it flush, commit and leave the group before it ends.
 */
export async function pollKafka(
  input: PollInput,
  { config, db, namespace, metrics, lookup }: PollingConnections,
): Promise<PollResult> {
  const context = Context.current()
  const { settings, poller: number } = input
  const { service } = lookup
  const logger = root.child({ poller: number })
  const ended = new AbortController()
  const retries = new PendingRetries(({ on, since, reason }) =>
    logger.warn({ reason }, `a flush has been waiting for ${on} since ${formatInstant(since)}; retrying`),
  )
  const staging = new PostgresStaging(db, settings, namespace, error => toApplicationFailure(error, config))
  const pipeline = new TemporalPort(context.client, staging, input, ended.signal, retries)
  const kafka = kafkaClient(config.kafka, `web-traffic-poller-${number}`)
  const reader: GroupReader = new GroupReader(kafka, settings.group, settings.topic, {
    onAssigned: partitions => poller.onAssigned(partitions),
    onRecords: (fetch, heartbeat) => poller.onRecords(fetch, heartbeat),
    onError: error => poller.onError(error),
  })
  const heartbeats = new Heartbeats(context, metrics, retries, service)
  const onProgress = (progress: PollerProgress) => heartbeats.report(progress)
  const rules = readerRules(settings, lookup)
  const log = reader
  const poller = new Poller({ settings, number, rules, log, pipeline, logger, onProgress, metrics, service })
  const drain = () => poller.drain()
  context.cancellationSignal.addEventListener('abort', drain, { once: true })
  try {
    metrics.ran(true)
    await reader.start()
    const records = await poller.run()
    logger.info({ records }, 'drained')
    const stopped = context.cancellationDetails?.cancelRequested
    return { reason: stopped ? 'drained' : 'worker shutting down', records }
  } catch (error) {
    metrics.failed(error instanceof LookupError ? 'lookup' : 'other')
    throw await toReadFailure(error, config.kafka)
  } finally {
    heartbeats.end()
    metrics.ran(false)
    metrics.lookupFails(false)
    context.cancellationSignal.removeEventListener('abort', drain)
    ended.abort()
    await reader.stop()
  }
}

/** Beats every second, even without progress: a flush that waits for Temporal must not look like a dead activity. */
class Heartbeats {
  private progress: PollerProgress | undefined
  private readonly timer = setInterval(() => this.beat(), 1_000)

  constructor(
    private readonly context: Context,
    private readonly metrics: PollerMetrics,
    private readonly retries: PendingRetries,
    private readonly service: BatchLookup | undefined,
  ) {}

  report(progress: PollerProgress): void {
    this.progress = progress
    this.beat()
  }

  end(): void {
    clearInterval(this.timer)
  }

  private beat(): void {
    const { trouble: enrichment } = this.service ?? {}
    const { overdue: temporal } = this.retries
    this.metrics.lookupFails(enrichment !== undefined)
    this.context.heartbeat({
      ...this.progress,
      ...(enrichment && { enrichment }),
      ...(temporal && { temporal }),
    })
  }
}
