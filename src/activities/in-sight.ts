import { ApplicationFailure } from '@temporalio/activity'
import type { PostgresConfig } from '../config'
import { LookupFailure } from '../geo/lookup'
import { postgresFailure } from '../postgres/failures'

/** What the Web UI shows of a failure, and whether and when Temporal tries again by itself. */
export function inSight(error: unknown, postgres: PostgresConfig): unknown {
  if (error instanceof LookupFailure) return lookupInSight(error)
  const failure = postgresFailure(error, postgres)
  if (!failure) return error
  const { message, lasting } = failure
  return ApplicationFailure.create({ message, type: 'PostgresFailure', nonRetryable: lasting })
}

export function lookupInSight({ message, retryAfter }: LookupFailure): ApplicationFailure {
  return ApplicationFailure.create({
    message,
    type: 'LookupFailure',
    ...(retryAfter !== undefined && { nextRetryDelay: retryAfter }),
  })
}
