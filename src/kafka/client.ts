import { setTimeout as sleep } from 'node:timers/promises'
import {
  Kafka,
  KafkaJSProtocolError,
  logLevel,
  Partitioners,
  type Admin,
  type LogEntry,
  type Producer,
} from 'kafkajs'
import { UserError } from '../errors'
import { logger } from '../log'
import { kafkajsConnection, type KafkaConnection } from './connection'
import { kafkaFailure, noBroker } from './failures'

const logCreator =
  () =>
  ({ namespace, level, log }: LogEntry) => {
    const entry = { kafka: namespace, error: log.error as string | undefined }
    // kafkajs logs failures that it recovers from as errors. Those that it does not recover from fail the caller.
    const isNoise = level === logLevel.DEBUG || level === logLevel.NOTHING
    logger[isNoise ? 'trace' : 'debug'](entry, log.message)
  }

export function kafkaClient(
  connection: KafkaConnection,
  clientId: string,
  retry = { initialRetryTime: 200, maxRetryTime: 2_000, retries: 5 },
): Kafka {
  return new Kafka({
    clientId,
    ...kafkajsConnection(connection),
    connectionTimeout: 3_000,
    requestTimeout: 15_000,
    retry,
    logCreator,
  })
}

/** Connects an idempotent producer, because kafkajs repeats a whole request if the broker refuses one partition of it. */
export async function connectProducer(kafka: Kafka): Promise<Producer> {
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    allowAutoTopicCreation: false,
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  return producer
}

/**
 * Runs `use` with a connected admin client.
 *
 * @throws UserError that says why no broker accepts the connection
 */
export async function withAdmin<T>(
  connection: KafkaConnection,
  use: (admin: Admin) => Promise<T>,
): Promise<T> {
  const retry = { initialRetryTime: 200, maxRetryTime: 2_000, retries: 2 }
  const admin = kafkaClient(connection, 'web-traffic', retry).admin()
  try {
    await admin.connect()
  } catch (error) {
    throw new UserError((await kafkaFailure(error, connection)) ?? noBroker(connection.brokers.join(',')))
  }
  try {
    return await use(admin)
  } catch (error) {
    // A broker that requires a login answers the first request and hangs up on the second.
    const message = await kafkaFailure(error, connection)
    throw message === undefined ? error : new UserError(message)
  } finally {
    await admin.disconnect()
  }
}

/** Rejects with the last error after `attempts` failures, or at once if an error is not retryable. */
export async function retryEvery100ms<T>(
  attempts: number,
  call: () => Promise<T>,
  isRetryable: (error: unknown) => boolean = () => true,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call()
    } catch (error) {
      if (attempt === attempts || !isRetryable(error)) throw error
      await sleep(100)
    }
  }
}

export interface PartitionOffsets {
  partition: number
  /** The earliest offset that Kafka still has. */
  low: number
  /** The offset that the next record will get. */
  high: number
}

/**
 * The offsets of the topic's partitions, in order.
 *
 * @throws UserError if the topic does not exist
 */
export async function topicOffsets(admin: Admin, topic: string): Promise<PartitionOffsets[]> {
  const existing = await admin.listTopics()
  if (!existing.includes(topic)) {
    throw new UserError(
      `The topic "${topic}" does not exist: create it, for instance with "web-traffic produce --partitions 4 …", ` +
        'or set KAFKA_TOPIC.',
    )
  }
  // The partitions of a new topic have no leaders yet. kafkajs marks that error retriable, but does not retry it.
  const offsets = await retryEvery100ms(
    50,
    () => admin.fetchTopicOffsets(topic),
    error => error instanceof KafkaJSProtocolError && error.retriable,
  )
  return offsets
    .map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }))
    .sort((a, b) => a.partition - b.partition)
}
