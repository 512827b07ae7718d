import { Context } from '@temporalio/activity'
import type { Config } from '../config'
import { kafkaClient } from '../kafka/client'
import { GroupReader } from '../kafka/group-reader'
import { LookupError, type Lookup } from '../geo/lookup'
import { logger as root } from '../log'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import { formatInstant } from '../core/window/tumbling-window'
import type { Db } from '../postgres/database'
import { hashKey } from './hash-key'
import { toApplicationFailure, toReadFailure } from './to-application-failure'
import { PendingRetries } from '../temporal/retry'
import { TemporalPort } from './pipeline-port'
import { Poller, type PollerProgress } from './poller'
import { PostgresStaging } from './staging'
import type { PollInput, PollResult } from '../contract/activities'

export interface PollingConnections {
  config: Pick<Config, 'kafka' | 'postgres'>
  db: Db
  namespace: string
  metrics: PollerMetrics
  lookup: Lookup
}

/**
 * Reads the topic as a member of the consumer group until it is cancelled, counting into windows. A cancellation
 * (a drain, or the worker's shutdown) lets it flush, commit and leave the group before it ends.
 */
export async function pollKafka(
  input: PollInput,
  { config, db, namespace, metrics, lookup: { locate, service } }: PollingConnections,
): Promise<PollResult> {
  const context = Context.current()
  const { settings } = input
  const logger = root.child({ poller: input.poller })
  const given = new AbortController()
  const waits = new PendingRetries(({ on, since, reason }) =>
    logger.warn({ reason }, `A flush has waited for ${on} since ${formatInstant(since)}; it is tried again`),
  )
  const staging = new PostgresStaging(db, settings, namespace, error => toApplicationFailure(error, config))
  const pipeline = new TemporalPort(context.client, staging, input, given.signal, waits)
  const rules = { ...settings, locate, hashKey }
  const kafka = kafkaClient(config.kafka, `web-traffic-poller-${input.poller}`)
  const reader: GroupReader = new GroupReader(kafka, settings.group, settings.topic, {
    onAssigned: partitions => poller.onAssigned(partitions),
    onRecords: (fetch, heartbeat) => poller.onRecords(fetch, heartbeat),
    onError: error => poller.onError(error),
  })
  let progress: PollerProgress | undefined
  const beat = () => {
    metrics.lookupFails(service?.trouble !== undefined)
    const enrichment = service?.trouble
    const temporal = waits.long
    context.heartbeat({ ...progress, ...(enrichment && { enrichment }), ...(temporal && { temporal }) })
  }
  const onProgress = (latest: PollerProgress) => {
    progress = latest
    beat()
  }
  const poller: Poller = new Poller(
    settings,
    input.poller,
    rules,
    reader,
    pipeline,
    logger,
    onProgress,
    metrics,
    service,
  )
  // A flush that waits for Temporal must not look like a dead activity.
  const alive = setInterval(beat, 1_000)
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
    clearInterval(alive)
    metrics.ran(false)
    metrics.lookupFails(false)
    context.cancellationSignal.removeEventListener('abort', drain)
    given.abort()
    await reader.stop()
  }
}
