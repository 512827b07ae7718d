import { ApplicationFailure } from '@temporalio/activity'
import type { Config } from '../config'
import { LookupError } from '../geo/lookup'
import type { KafkaConnection } from '../kafka/connection'
import { kafkaFailure } from '../kafka/failures'
import { postgresFailure } from '../postgres/failures'

/** The failure that the Web UI shows, marked as permanent or transient; unknown errors are returned as they are. */
export async function toApplicationFailure(
  error: unknown,
  { postgres, kafka }: Pick<Config, 'kafka' | 'postgres'>,
): Promise<unknown> {
  const readFailure = await toReadFailure(error, kafka)
  if (readFailure !== error) return readFailure
  const failure = postgresFailure(error, postgres)
  if (!failure) return error
  const { message, permanent } = failure
  return ApplicationFailure.create({ message, type: 'PostgresFailure', nonRetryable: permanent })
}

/** As {@link toApplicationFailure}, for an activity that uses only Kafka and the lookup service. */
export async function toReadFailure(error: unknown, kafka: KafkaConnection): Promise<unknown> {
  if (error instanceof LookupError) {
    const { message, retryAfter } = error
    const delay = retryAfter === undefined ? {} : { nextRetryDelay: retryAfter }
    return ApplicationFailure.create({ message, type: 'LookupFailure', ...delay })
  }
  const message = await kafkaFailure(error, kafka)
  return message === undefined ? error : ApplicationFailure.create({ message, type: 'KafkaFailure' })
}
