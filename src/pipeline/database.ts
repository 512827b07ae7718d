import type { Config } from '../config'
import { isUnreachable, type Bounds } from '../postgres/connection-pool'
import { openDatabase, type Db } from '../postgres/database'
import { postgresFailure } from '../postgres/failures'
import { UserError } from '../errors'

/**
 * Runs `use` with the configured database.
 *
 * @throws UserError if Postgres fails
 */
export async function withDatabase<T>(
  config: Config,
  use: (db: Db) => Promise<T>,
  bounds?: Bounds,
): Promise<T> {
  const db = openDatabase(config.postgres, 2, bounds)
  try {
    return await use(db)
  } catch (error) {
    throw asUserError(error, config)
  } finally {
    await db.destroy()
  }
}

/** A Postgres failure as a {@link UserError}; any other error unchanged. */
export function asUserError(error: unknown, { postgres }: Config): unknown {
  const failure = postgresFailure(error, postgres)
  if (!failure) return error
  const advice = isUnreachable(error)
    ? ' Check POSTGRES_URL, or start one with "web-traffic cluster up".'
    : ''
  return new UserError(failure.message + advice)
}
