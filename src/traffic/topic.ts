import type { Kafka } from 'kafkajs'
import { UserError } from '../cli/errors'

export interface TopicState {
  partitions: number
  created: boolean
}

/**
 * Makes sure that the topic exists.
 *
 * @param partitions the number to create a missing topic with; a topic that exists keeps the number it has
 * @throws UserError where the topic is missing and `partitions` is not given
 */
export async function ensureTopic(kafka: Kafka, topic: string, partitions?: number): Promise<TopicState> {
  // The client's own patience is for a broker that goes away; one that was never there should be known at once.
  const admin = kafka.admin({ retry: { retries: 3 } })
  await admin.connect()
  try {
    // Asking for one topic's metadata could create it, on brokers that are set up so; a list never does.
    const exists = (await admin.listTopics()).includes(topic)
    if (!exists && partitions === undefined) {
      throw new UserError(`Topic "${topic}" does not exist; pass --partitions N to create it.`)
    }
    const created =
      !exists &&
      (await admin.createTopics({ topics: [{ topic, numPartitions: partitions! }], waitForLeaders: true }))
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return { partitions: topics[0]!.partitions.length, created }
  } finally {
    await admin.disconnect()
  }
}
