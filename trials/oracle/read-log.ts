import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import type { Kafka, KafkaMessage } from 'kafkajs'

/** Reads a whole topic with kafkajs alone, each partition in its order. */
export async function eachMessage(
  kafka: Kafka,
  topic: string,
  use: (partition: number, message: KafkaMessage) => void,
): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  let remaining = offsets.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0)
  const consumer = kafka.consumer({ groupId: `${topic}-reference-${randomUUID()}`, maxBytes: 4 << 20 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise<void>((resolve, reject) => {
    const eachBatch = ({ batch }: { batch: { partition: number; messages: KafkaMessage[] } }) => {
      for (const message of batch.messages) use(batch.partition, message)
      remaining -= batch.messages.length
      if (remaining === 0) resolve()
      // Timers and sockets of this process get their turn between batches.
      return setImmediate()
    }
    consumer.run({ autoCommit: false, eachBatch }).catch(reject)
  })
  await consumer.disconnect()
}

/** All messages of a topic, by partition. */
export async function readLog(kafka: Kafka, topic: string): Promise<KafkaMessage[][]> {
  const log: KafkaMessage[][] = []
  await eachMessage(kafka, topic, (partition, message) => (log[partition] ??= []).push(message))
  return Array.from(log, messages => messages ?? [])
}
