import type { Config } from '../config'
import { isUnreachable, openDatabase, type Db } from '../postgres/database'
import { postgresFailure } from '../postgres/failures'
import { UserError } from '../errors'

/** Runs `use` with the configured database; what goes wrong with it is said in one line with its remedy. */
export async function withDatabase<T>(config: Config, use: (db: Db) => Promise<T>): Promise<T> {
  const db = openDatabase(config.postgres, 2)
  try {
    return await use(db)
  } catch (error) {
    throw explain(error, config)
  } finally {
    await db.destroy()
  }
}

/** A database error as a person can act on it; anything else is returned as it is. */
export function explain(error: unknown, { postgres }: Config): unknown {
  const failure = postgresFailure(error, postgres)
  if (!failure) return error
  if (!isUnreachable(error)) return new UserError(failure.message)
  const where = `${postgres.host}:${postgres.port}`
  return new UserError(
    `No Postgres answers at ${where}: start one with "web-traffic cluster up", or set POSTGRES_URL.`,
  )
}
