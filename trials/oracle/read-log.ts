import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import type { Kafka, KafkaMessage } from 'kafkajs'
import { openCountryDatabase } from '../../src/geo/country'
import { LogCounter } from './reference'

/**
 * Reads a whole topic with kafkajs alone, each partition in order. It has no transactions, so an offset without a
 * message is one that compaction has removed.
 *
 * @param use receives each message, and how many offsets are missing before it
 */
async function eachMessage(
  kafka: Kafka,
  topic: string,
  use: (partition: number, message: KafkaMessage, missing: number) => void,
): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  let remaining = offsets.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0)
  const next = new Map(offsets.map(({ partition, low }) => [partition, Number(low)]))
  const consumer = kafka.consumer({
    groupId: `${topic}-reference-${randomUUID()}`,
    maxBytes: 4 << 20,
    // A restart by kafkajs goes on after `disconnect`, and keeps this process alive when its servers are gone.
    retry: { restartOnFailure: () => Promise.resolve(false) },
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise<void>((resolve, reject) => {
    const eachBatch = ({ batch }: { batch: { partition: number; messages: KafkaMessage[] } }) => {
      const { partition } = batch
      for (const message of batch.messages) {
        const offset = Number(message.offset)
        const missing = offset - next.get(partition)!
        use(partition, message, missing)
        next.set(partition, offset + 1)
        remaining -= missing + 1
      }
      if (remaining === 0) resolve()
      // Lets this process serve timers and sockets between batches.
      return setImmediate()
    }
    consumer.on('consumer.crash', ({ payload }) => reject(payload.error))
    consumer.run({ autoCommit: false, eachBatch }).catch(reject)
  }).finally(() => consumer.disconnect())
}

/** All messages of a topic, by partition. */
export async function readLog(kafka: Kafka, topic: string): Promise<KafkaMessage[][]> {
  const log: KafkaMessage[][] = []
  await eachMessage(kafka, topic, (partition, message) => (log[partition] ??= []).push(message))
  return Array.from(log, messages => messages ?? [])
}

/** Counts a topic independently of the product, without keeping its messages. Sizes and delays in milliseconds. */
export async function countTopic(
  kafka: Kafka,
  topic: string,
  settings: { windowSize: number; watermarkDelay: number },
  geoDatabase?: string,
): Promise<LogCounter> {
  const locate = await openCountryDatabase(geoDatabase)
  const counter = new LogCounter(locate, settings.windowSize, settings.watermarkDelay)
  await eachMessage(kafka, topic, (partition, message, missing) => counter.add(partition, message, missing))
  return counter
}
