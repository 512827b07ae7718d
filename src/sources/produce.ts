import { Kafka, logLevel, type Producer } from 'kafkajs'
import { connectProducer, withAdmin } from '../kafka/client'
import { kafkajsConnection, type KafkaConnection } from '../kafka/connection'
import { explainSendFailure } from '../kafka/failures'
import { PartitionLane } from './partition-lane'
import type { Records, TrafficRecord } from './record'
import { ensureTopic, type TopicState } from './topic'

export interface ProduceOptions {
  kafka: Kafka
  topic: string
  /** The number of partitions to create a missing topic with; an existing topic keeps its own. */
  partitions?: number
  /** The records, or a function of the topic's number of partitions that returns them. */
  records: Records | ((partitions: number) => Records)
  /** Called once, before the first record is read. */
  onTopic?: (topic: TopicState) => void
  /** Called after each batch that the broker has acknowledged. */
  onProgress?: (totals: Readonly<Totals>) => void
  /** Stops reading; records that have been read are still sent, and the promise resolves. */
  signal?: AbortSignal
  /** Maximum number of records in a batch of one partition; default 1,000. */
  batchSize?: number
}

export interface Totals {
  /** Acknowledged by all in-sync replicas. */
  sent: number
  malformed: number
  late: number
}

export interface ProduceResult extends Totals {
  /** From reading the first record to the acknowledgement of the last. */
  seconds: number
  partitions: number
}

/** Milliseconds that a record waits at most for its batch to fill. */
const LINGER = 50

/**
 * A client of brokers that are reachable now. It retries for about a minute if they become unreachable later.
 *
 * @param onError receives a message for each error that the client retries
 * @throws UserError if no broker is reachable, or the login fails
 */
export async function connectClient(
  connection: KafkaConnection,
  onError: (message: string) => void,
): Promise<Kafka> {
  await withAdmin(connection, () => Promise.resolve())
  return new Kafka({
    clientId: 'web-traffic-produce',
    ...kafkajsConnection(connection),
    retry: { retries: 20, maxRetryTime: 3_000 },
    logLevel: logLevel.ERROR,
    logCreator: () => entry => onError(entry.log.message),
  })
}

/**
 * Sends records to a topic in the order of reading, and resolves once all of them are acknowledged. Their Kafka
 * timestamp is the time of sending.
 *
 * Retries neither duplicate nor reorder records: the producer is idempotent, and each partition has at most one request
 * in flight.
 *
 * @throws UserError if no broker answers, the topic is missing and `partitions` is undefined, or Kafka rejects a record
 */
export async function produce(options: ProduceOptions): Promise<ProduceResult> {
  const { kafka, topic } = options
  const totals: Totals = { sent: 0, malformed: 0, late: 0 }
  try {
    const state = await ensureTopic(kafka, topic, options.partitions)
    options.onTopic?.(state)
    const producer = await connectProducer(kafka)
    try {
      const started = performance.now()
      await send(options, producer, state.partitions, totals)
      return { ...totals, seconds: (performance.now() - started) / 1_000, partitions: state.partitions }
    } finally {
      await producer.disconnect()
    }
  } catch (error) {
    throw explainSendFailure(error, totals.sent)
  }
}

/** Reads until the source ends, a lane fails or the caller stops it, then drains every lane. */
async function send(
  options: ProduceOptions,
  producer: Producer,
  partitions: number,
  totals: Totals,
): Promise<void> {
  const { topic, records, signal, onProgress, batchSize = 1_000 } = options
  const acknowledged = (batch: TrafficRecord[]) => {
    for (const record of batch) {
      totals.sent++
      if (record.malformed) totals.malformed++
      if (record.late) totals.late++
    }
    onProgress?.(totals)
  }
  const failure = new AbortController()
  const stop = AbortSignal.any([failure.signal, ...(signal ? [signal] : [])])
  const stopped = new Promise<void>(resolve => {
    if (stop.aborted) resolve()
    stop.addEventListener('abort', () => resolve())
  })
  const lane = { producer, topic, batchSize, acknowledged, failed: () => failure.abort() }
  const lanes = Array.from(
    { length: partitions },
    (_, partition) => new PartitionLane({ ...lane, partition }),
  )
  const timer = setInterval(() => lanes.forEach(lane => lane.flush()), LINGER)

  const source = typeof records === 'function' ? records(partitions) : records
  // A source that waits for its next record cannot be interrupted, so the race abandons it.
  const reading = await Promise.allSettled([Promise.race([deal(source, lanes, stop), stopped])])
  clearInterval(timer)
  const sending = await Promise.allSettled(lanes.map(lane => lane.drain()))
  const rejected = [...reading, ...sending].find(outcome => outcome.status === 'rejected')
  if (rejected) throw rejected.reason
}

/** Adds each record to its partition's lane. */
async function deal(records: Records, lanes: PartitionLane[], stop: AbortSignal): Promise<void> {
  let index = 0
  for await (const record of records) {
    if (stop.aborted) return
    const partition = record.partition ?? index % lanes.length
    index++
    const lane = lanes[partition]
    if (!lane) throw new RangeError(`The topic has no partition ${partition}; it has ${lanes.length}.`)
    const room = lane.add(record)
    if (room) await room
  }
}
