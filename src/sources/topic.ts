import { setTimeout as sleep } from 'node:timers/promises'
import { KafkaJSProtocolError, type Admin, type Kafka } from 'kafkajs'
import { causes, UserError } from '../errors'

const METADATA_TIMEOUT = 10_000

export interface TopicState {
  partitions: number
  created: boolean
}

/**
 * Creates the topic if it is missing. An existing topic keeps its partitions.
 *
 * @throws UserError if the topic is missing and `partitions` is undefined
 */
export async function ensureTopic(kafka: Kafka, topic: string, partitions?: number): Promise<TopicState> {
  // The client's many retries are for a broker that goes down later; an unreachable one should be reported soon.
  const admin = kafka.admin({ retry: { retries: 3 } })
  await admin.connect()
  try {
    // A metadata request for one topic may create it (auto.create.topics.enable); a list never does.
    const exists = (await admin.listTopics()).includes(topic)
    if (!exists && partitions === undefined) {
      throw new UserError(`The topic "${topic}" does not exist. Pass --partitions N to create it.`)
    }
    const created =
      !exists &&
      (await admin.createTopics({ topics: [{ topic, numPartitions: partitions! }], waitForLeaders: false }))
    return { partitions: await waitForLeaders(admin, topic), created }
  } finally {
    await admin.disconnect()
  }
}

/**
 * Waits until every partition has a leader, and returns their number. kafkajs's `waitForLeaders` fails if the broker that
 * it asks does not know the new topic yet.
 */
async function waitForLeaders(admin: Admin, topic: string): Promise<number> {
  for (const deadline = Date.now() + METADATA_TIMEOUT; ; await sleep(50)) {
    try {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      const { partitions = [] } = topics[0] ?? {}
      if (partitions.length > 0 && partitions.every(({ leader }) => leader >= 0)) return partitions.length
      if (Date.now() > deadline)
        throw new UserError(`Not every partition of "${topic}" has a leader. Check the brokers.`)
    } catch (error) {
      const isUnknown = causes(error).some(
        cause => cause instanceof KafkaJSProtocolError && cause.type === 'UNKNOWN_TOPIC_OR_PARTITION',
      )
      if (!isUnknown || Date.now() > deadline) throw error
    }
  }
}
