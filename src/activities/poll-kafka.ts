import { ApplicationFailure, Context } from '@temporalio/activity'
import type { Config } from '../config'
import type { PollInput, PollResult } from '../contract/activities'
import { ingestId } from '../contract/ids'
import { formatInstant } from '../core/window/tumbling-window'
import { LookupError, type BatchLookup, type Lookup } from '../geo/lookup'
import { kafkaClient, withAdmin } from '../kafka/client'
import {
  describeRefusal,
  isRefusedByGroup,
  namingAssigner,
  otherMembers,
  pollerClientId,
} from '../kafka/group-members'
import type { KafkaConnection } from '../kafka/connection'
import { GroupReader, type GroupReaderEvents } from '../kafka/group-reader'
import { logger as root } from '../log'
import type { Db } from '../postgres/database'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import { firstRunOf } from '../temporal/first-run'
import { PendingRetries, untilAnswered } from '../temporal/retry'
import { TemporalPort } from './pipeline-port'
import { Poller, type PollerProgress } from './poller'
import { readerRules } from './reader-rules'
import { PostgresStaging } from './staging'
import { toApplicationFailure, toReadFailure } from './to-application-failure'
import { UnreadableBatches } from './unreadable-batches'

/** Each attempt makes the other pollers join the group again. */
const PERMANENT_RETRY = '10s'

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
  const unreadable = new UnreadableBatches(logger)
  const kafka = kafkaClient(config.kafka, pollerClientId(number))
  const events: GroupReaderEvents = {
    onAssigned: partitions => poller.onAssigned(partitions),
    onRecords: (fetch, heartbeat) => poller.onRecords(fetch, heartbeat),
    onUnreadable: batch => unreadable.found(batch),
    onError: error => poller.onError(error),
  }
  let ledger: string | undefined
  const assigner = namingAssigner(() => (ledger === undefined ? undefined : { ledger, namespace }))
  const reader = new GroupReader(kafka, settings.group, settings.topic, events, assigner)
  const heartbeats = new Heartbeats(context, metrics, retries, unreadable, service)
  const onProgress = (progress: PollerProgress) => heartbeats.report(progress)
  const rules = readerRules(settings, lookup)
  const log = reader
  const dependencies = { settings, number, rules, log, pipeline, logger, onProgress, metrics }
  const poller = new Poller({ ...dependencies, unreadable, service })
  const drain = () => poller.drain()
  context.cancellationSignal.addEventListener('abort', drain, { once: true })
  try {
    metrics.ran(true)
    const ledgerHandle = context.client.workflow.getHandle(ingestId(settings.group))
    ledger = await untilAnswered(() => firstRunOf(ledgerHandle), context.cancellationSignal, retries)
    await reader.start()
    const records = await poller.run()
    logger.info({ records }, 'drained')
    const stopped = context.cancellationDetails?.cancelRequested
    return { reason: stopped ? 'drained' : 'worker shutting down', records }
  } catch (error) {
    metrics.failed(error instanceof LookupError ? 'lookup' : 'other')
    if (isRefusedByGroup(error)) throw await refusal(input, config.kafka, ledger)
    throw retriedLater(await toReadFailure(error, config.kafka))
  } finally {
    heartbeats.end()
    metrics.ran(false)
    metrics.lookupFails(false)
    context.cancellationSignal.removeEventListener('abort', drain)
    ended.abort()
    await reader.stop()
  }
}

/** Names the members of the group that prevent this poller from joining. */
async function refusal(
  { settings: { group, topic } }: PollInput,
  kafka: KafkaConnection,
  ledger: string | undefined,
): Promise<ApplicationFailure> {
  const others = await withAdmin(kafka, admin => otherMembers(admin, group, ledger)).catch(() => [])
  const message = describeRefusal(group, topic, others)
  return ApplicationFailure.create({ message, type: 'KafkaFailure' })
}

/**
 * A permanent failure would end the poller's workflow, and the ledger would start the next one at once and without the
 * reason.
 */
function retriedLater(failure: unknown): unknown {
  if (!(failure instanceof ApplicationFailure) || !failure.nonRetryable) return failure
  const { message, type } = failure
  return ApplicationFailure.create({ message, ...(type && { type }), nextRetryDelay: PERMANENT_RETRY })
}

/** Beats every second, even without progress: a flush that waits for Temporal must not look like a dead activity. */
class Heartbeats {
  private progress: PollerProgress | undefined
  private readonly timer = setInterval(() => this.beat(), 1_000)

  constructor(
    private readonly context: Context,
    private readonly metrics: PollerMetrics,
    private readonly retries: PendingRetries,
    private readonly unreadable: UnreadableBatches,
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
    const { all: unreadable } = this.unreadable
    this.metrics.lookupFails(enrichment !== undefined)
    this.context.heartbeat({
      clock: new Date().toISOString(),
      ...this.progress,
      ...(enrichment && { enrichment }),
      ...(temporal && { temporal }),
      ...(unreadable.length > 0 && { unreadable }),
    })
  }
}
