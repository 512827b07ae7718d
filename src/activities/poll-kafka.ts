import { ApplicationFailure, Context } from '@temporalio/activity'
import { kafkaClient } from '../kafka/client'
import { GroupReader } from '../kafka/group-reader'
import type { LocateCountry } from '../geo/country'
import { LookupFailure, type RemoteLookup } from '../geo/remote-lookup'
import { logger as root } from '../log'
import type { PollerMetrics } from '../metrics/poller-metrics'
import { TemporalPort } from './pipeline-port'
import { Poller, type PollerProgress } from './poller'
import type { PollInput, PollResult } from './types'

/**
 * Reads the topic as a member of the consumer group until it is cancelled, counting into windows. A cancellation
 * (a drain, or the worker's shutdown) lets it flush, commit and leave the group before it ends.
 */
export async function pollKafka(
  input: PollInput,
  brokers: string[],
  metrics: PollerMetrics,
  locate: LocateCountry,
  remote?: RemoteLookup,
): Promise<PollResult> {
  const context = Context.current()
  const { settings } = input
  const logger = root.child({ poller: input.poller })
  const given = new AbortController()
  const pipeline = new TemporalPort(context.client, input, given.signal)
  const rules = { ...settings, locate }
  const kafka = kafkaClient(brokers, `web-traffic-poller-${input.poller}`)
  const reader: GroupReader = new GroupReader(kafka, settings.group, settings.topic, {
    onAssigned: partitions => poller.onAssigned(partitions),
    onRecords: (fetch, heartbeat) => poller.onRecords(fetch, heartbeat),
    onError: error => poller.onError(error),
  })
  let progress: PollerProgress | undefined
  const beat = () => {
    metrics.lookupFails(remote?.trouble !== undefined)
    context.heartbeat({ ...progress, ...(remote?.trouble && { enrichment: remote.trouble }) })
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
    remote,
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
    metrics.failed(error instanceof LookupFailure ? 'lookup' : 'other')
    throw error instanceof LookupFailure ? inSight(error) : error
  } finally {
    clearInterval(alive)
    metrics.ran(false)
    metrics.lookupFails(false)
    context.cancellationSignal.removeEventListener('abort', drain)
    given.abort()
    await reader.stop()
  }
}

/** What the Web UI shows as the attempt's failure, and when Temporal tries again. */
function inSight({ message, retryAfter }: LookupFailure): ApplicationFailure {
  return ApplicationFailure.create({
    message,
    type: 'LookupFailure',
    ...(retryAfter !== undefined && { nextRetryDelay: retryAfter }),
  })
}
