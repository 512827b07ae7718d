import { connectProducer, kafkaClient } from './client'
import type { KafkaConnection } from './connection'
import { explainSendFailure } from './failures'

export interface Republishable {
  partition: number
  /** Of the original record. */
  offset: number
  payload: string
}

const BATCH = 500

/**
 * Sends records to their partitions again, each with the header `republished-from`: partition and offset of the
 * original.
 *
 * @param onSent called with each acknowledged batch before the next one is sent
 * @throws UserError if Kafka refuses a batch; it says how many records were acknowledged before
 */
export async function republishRecords(
  kafka: KafkaConnection,
  topic: string,
  records: Republishable[],
  onSent: (sent: Republishable[]) => Promise<void>,
): Promise<void> {
  let sent = 0
  const sending = <T>(step: Promise<T>) =>
    step.catch((error: unknown) => {
      throw explainSendFailure(error, sent)
    })
  const producer = await sending(connectProducer(kafkaClient(kafka, 'web-traffic-republish')))
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
