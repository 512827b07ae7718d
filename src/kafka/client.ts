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

const LEVELS = {
  [logLevel.NOTHING]: 'trace',
  [logLevel.ERROR]: 'debug',
  [logLevel.WARN]: 'debug',
  [logLevel.INFO]: 'debug',
  [logLevel.DEBUG]: 'trace',
} as const

/** kafkajs repeats what it recovers from as errors, so it is heard only at the level debug: what it does not recover from ends the activity, in sight. */
const logCreator =
  () =>
  ({ namespace, level, log }: LogEntry) =>
    logger[LEVELS[level]]({ kafka: namespace, error: log.error as string | undefined }, log.message)

export function kafkaClient(connection: KafkaConnection, clientId: string): Kafka {
  return new Kafka({
    clientId,
    ...kafkajsConnection(connection),
    connectionTimeout: 3_000,
    requestTimeout: 15_000,
    retry: { initialRetryTime: 200, maxRetryTime: 2_000, retries: 5 },
    logCreator,
  })
}

/**
 * A connected producer. Where one partition of a request is refused kafkajs repeats the request whole, so that the broker
 * has to know repeats.
 */
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

/** Runs `use` with a connected admin client; why no broker lets it in is said in one line. */
export async function withAdmin<T>(
  connection: KafkaConnection,
  use: (admin: Admin) => Promise<T>,
): Promise<T> {
  const admin = new Kafka({
    clientId: 'web-traffic',
    ...kafkajsConnection(connection),
    connectionTimeout: 3_000,
    retry: { retries: 2, initialRetryTime: 200 },
    logCreator,
  }).admin()
  try {
    await admin.connect()
  } catch (error) {
    throw new UserError((await kafkaFailure(error, connection)) ?? noBroker(connection))
  }
  try {
    return await use(admin)
  } catch (error) {
    // A broker that wants a login answers the first question all the same, and hangs up at the next.
    const message = await kafkaFailure(error, connection)
    throw message === undefined ? error : new UserError(message)
  } finally {
    await admin.disconnect()
  }
}

/** A topic that was just created has no leaders yet, which kafkajs reports as retriable and does not retry. */
async function onceLed<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof KafkaJSProtocolError && error.retriable) || tries === 50) throw error
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

/** The topic's partitions with their offsets, in order; a topic that does not exist is named in one line. */
export async function topicOffsets(admin: Admin, topic: string): Promise<PartitionOffsets[]> {
  const existing = await admin.listTopics()
  if (!existing.includes(topic)) {
    throw new UserError(
      `The topic "${topic}" does not exist: create it, for instance with "web-traffic produce --partitions 4 …", ` +
        'or set KAFKA_TOPIC.',
    )
  }
  const offsets = await onceLed(() => admin.fetchTopicOffsets(topic))
  return offsets
    .map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }))
    .sort((a, b) => a.partition - b.partition)
}
