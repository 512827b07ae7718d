import { connectProducer, kafkaClient } from './client'
import type { KafkaConnection } from './connection'
import { explainSendFailure } from './send-failure'

export interface Republishable {
  partition: number
  /** Of the record that it repeats. */
  offset: number
  payload: string
}

const BATCH = 500

/**
 * Sends records to their partitions as new ones, each with the header `republished-from`: partition and offset of the
 * one that it repeats.
 *
 * @param onSent called with those that were acknowledged, before more are sent
 * @throws UserError where Kafka does not take one, with how many it took before
 */
export async function republishRecords(
  kafka: KafkaConnection,
  topic: string,
  records: Republishable[],
  onSent: (sent: Republishable[]) => Promise<void>,
): Promise<void> {
  const client = kafkaClient(kafka, 'web-traffic-republish')
  let sent = 0
  const sending = async <T>(step: Promise<T>) =>
    step.catch((error: unknown) => {
      throw explainSendFailure(error, sent)
    })
  const producer = await sending(connectProducer(client))
  try {
    for (let i = 0; i < records.length; i += BATCH) {
      const batch = records.slice(i, i + BATCH)
      const messages = batch.map(({ partition, offset, payload }) => ({
        partition,
        value: payload,
        headers: { 'republished-from': `${partition}/${offset}` },
      }))
      await sending(producer.send({ topic, messages }))
      sent += batch.length
      await onSent(batch)
    }
  } finally {
    await producer.disconnect()
  }
}
