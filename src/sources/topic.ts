import { setTimeout as sleep } from 'node:timers/promises'
import { KafkaJSProtocolError, type Admin, type Kafka } from 'kafkajs'
import { causes, UserError } from '../errors'

const KNOWN_WITHIN = 10_000

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
      (await admin.createTopics({ topics: [{ topic, numPartitions: partitions! }], waitForLeaders: false }))
    return { partitions: await untilKnown(admin, topic), created }
  } finally {
    await admin.disconnect()
  }
}

/**
 * How many partitions it has, once every one of them has a leader. kafkajs's own wait for leaders fails where the broker
 * that it asks has not heard of the new topic yet.
 */
async function untilKnown(admin: Admin, topic: string): Promise<number> {
  for (const deadline = Date.now() + KNOWN_WITHIN; ; await sleep(50)) {
    try {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      const { partitions = [] } = topics[0] ?? {}
      if (partitions.length > 0 && partitions.every(({ leader }) => leader >= 0)) return partitions.length
      if (Date.now() > deadline) throw new UserError(`No broker leads all partitions of "${topic}".`)
    } catch (error) {
      const isUnknown = causes(error).some(
        cause => cause instanceof KafkaJSProtocolError && cause.type === 'UNKNOWN_TOPIC_OR_PARTITION',
      )
      if (!isUnknown || Date.now() > deadline) throw error
    }
  }
}
