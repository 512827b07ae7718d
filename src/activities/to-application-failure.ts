import { ApplicationFailure } from '@temporalio/activity'
import type { Config } from '../config'
import { LookupError } from '../geo/lookup'
import type { KafkaConnection } from '../kafka/connection'
import { kafkaFailure } from '../kafka/failures'
import { postgresFailure } from '../postgres/failures'

/** What the Web UI shows of a failure, and whether and when Temporal tries again by itself. */
export async function toApplicationFailure(
  error: unknown,
  { postgres, kafka }: Pick<Config, 'kafka' | 'postgres'>,
): Promise<unknown> {
  const reading = await toReadFailure(error, kafka)
  if (reading !== error) return reading
  const failure = postgresFailure(error, postgres)
  if (!failure) return error
  const { message, permanent } = failure
  return ApplicationFailure.create({ message, type: 'PostgresFailure', nonRetryable: permanent })
}

/** The same of what can fail where Postgres is not asked: Kafka and the look-up service. */
export async function toReadFailure(error: unknown, kafka: KafkaConnection): Promise<unknown> {
  if (error instanceof LookupError) {
    const { message, retryAfter } = error
    return ApplicationFailure.create({
      message,
      type: 'LookupFailure',
      ...(retryAfter !== undefined && { nextRetryDelay: retryAfter }),
    })
  }
  const message = await kafkaFailure(error, kafka)
  return message === undefined ? error : ApplicationFailure.create({ message, type: 'KafkaFailure' })
}
