import type { Kafka, Producer } from 'kafkajs'
import { connectProducer } from '../kafka/client'
import { explainSendFailure } from '../kafka/failures'
import { PartitionLane } from './partition-lane'
import { type TopicState, ensureTopic } from './topic'
import type { Records, TrafficRecord } from './record'

export interface ProduceOptions {
  kafka: Kafka
  topic: string
  /** Creates the topic with so many where it is missing. A topic that exists keeps the number it has. */
  partitions?: number
  /** The records, or a function that makes them for the number of partitions that the topic has. */
  records: Records | ((partitions: number) => Records)
  /** Called once, before the first record. */
  onTopic?: (topic: TopicState) => void
  /** Called after each batch that the broker acknowledged. */
  onProgress?: (totals: Readonly<Totals>) => void
  /** Stops reading; what has been read is still sent, and the promise resolves. */
  signal?: AbortSignal
  /** Records a batch and partition at most; default 1,000. */
  batchSize?: number
}

export interface Totals {
  /** Acknowledged by all in-sync replicas. */
  sent: number
  malformed: number
  late: number
}

export interface ProduceResult extends Totals {
  /** From the first record's reading to the last one's acknowledgement. */
  seconds: number
  partitions: number
}

/** Records wait at most so long, in milliseconds, for their batch to fill. */
const LINGER = 50

/**
 * Sends records to a topic, their Kafka timestamp being the time of sending, and resolves once all that were
 * read are acknowledged. The order of reading is kept within each partition.
 *
 * Retries neither duplicate nor reorder: the producer is idempotent (the broker recognises a batch it has), and
 * each partition has its own request, of which one at a time is under way.
 *
 * @throws UserError where no broker answers, the topic is missing and `partitions` is not given, or Kafka
 *   refuses a record
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

/** Reads until the source ends, a lane fails or the caller stops it, then waits for every lane to come to rest. */
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
  const stop = new AbortController()
  const stopped = new Promise<void>(resolve => stop.signal.addEventListener('abort', () => resolve()))
  const abort = () => stop.abort()
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort)
  const lane = { producer, topic, batchSize, acknowledged, failed: abort }
  const lanes = Array.from(
    { length: partitions },
    (_, partition) => new PartitionLane({ ...lane, partition }),
  )
  const timer = setInterval(() => lanes.forEach(lane => lane.flush()), LINGER)

  const source = typeof records === 'function' ? records(partitions) : records
  // A source that waits for its next record cannot be interrupted; the race leaves it behind.
  const reading = await Promise.allSettled([Promise.race([deal(source, lanes, stop.signal), stopped])])
  stop.abort()
  clearInterval(timer)
  signal?.removeEventListener('abort', abort)
  const sending = await Promise.allSettled(lanes.map(lane => lane.drain()))
  const failure = [...reading, ...sending].find(outcome => outcome.status === 'rejected')
  if (failure) throw failure.reason
}

/** Gives each record to its partition's lane, in the order of reading. */
async function deal(records: Records, lanes: PartitionLane[], stop: AbortSignal): Promise<void> {
  let index = 0
  const take = (record: TrafficRecord) => {
    const partition = record.partition ?? index % lanes.length
    index++
    const lane = lanes[partition]
    if (!lane) throw new RangeError(`The topic has no partition ${partition}; it has ${lanes.length}.`)
    return lane.add(record)
  }
  if (Symbol.asyncIterator in records) {
    for await (const record of records) {
      if (stop.aborted) return
      const room = take(record)
      if (room) await room
    }
  } else {
    for (const record of records) {
      if (stop.aborted) return
      const room = take(record)
      if (room) await room
    }
  }
}
