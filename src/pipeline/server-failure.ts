import { KafkaJSError } from 'kafkajs'
import type { Config } from '../config'
import { causes, reasonOf, UserError } from '../errors'
import { kafkaFailure } from '../kafka/failures'
import { temporalConfig } from '../temporal/connection'
import { temporalFailure } from '../temporal/failures'
import { asUserError } from './database'

/**
 * Why a server failed a command, as one line with what to do.
 *
 * @returns undefined if the error has another cause, which is a defect
 */
export async function serverFailure(error: unknown, config: Config): Promise<string | undefined> {
  // A lost connection to Kafka looks like one to Postgres, so Kafka's own errors come first.
  const failure =
    (await kafkaFailure(error, config.kafka)) ??
    otherKafkaFailure(error, config) ??
    temporalFailure(error, temporalConfig())
  if (failure !== undefined) return failure
  const explained = asUserError(error, config)
  return explained instanceof UserError ? explained.message : undefined
}

function otherKafkaFailure(error: unknown, { kafka }: Config): string | undefined {
  const failure = causes(error).findLast(cause => cause instanceof KafkaJSError)
  return (
    failure && `Kafka at ${kafka.brokers.join(',')} failed: ${reasonOf(failure)}. Run "web-traffic doctor".`
  )
}
