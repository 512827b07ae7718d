import { KafkaJSConnectionError, KafkaJSError } from 'kafkajs'
import { causes, UserError } from '../errors'

/**
 * What a failure of kafkajs means to a person, as a {@link UserError} of one line; anything that is no failure
 * of Kafka's is returned as it is.
 *
 * @param sent records acknowledged before it, so that the person knows what is in the topic
 */
export function explainSendFailure(error: unknown, sent = 0): unknown {
  const chain = causes(error)
  if (chain.some(cause => cause instanceof UserError)) return error
  const connection = chain.find(
    (cause): cause is KafkaJSConnectionError => cause instanceof KafkaJSConnectionError,
  )
  if (connection) {
    const broker = connection.broker ?? 'the address given'
    return sent === 0
      ? new UserError(
          `No Kafka broker answers at ${broker}; start one with "web-traffic cluster up" or set KAFKA_URL.`,
        )
      : new UserError(
          `Kafka at ${broker} stopped answering after ${sent} records were acknowledged; up to a batch per partition more may be in the topic.`,
        )
  }
  const failure = chain.findLast((cause): cause is KafkaJSError => cause instanceof KafkaJSError)
  if (failure)
    return new UserError(`Kafka failed after ${sent} records were acknowledged: ${failure.message}`)
  return error
}
