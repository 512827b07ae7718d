import type { Config } from '../config'
import { isAway, openDatabase, type Db } from '../postgres/database'
import { UserError } from './errors'

/** Runs `use` with the configured database; what commonly goes wrong is said in one line with its remedy. */
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
  if (!(error instanceof Error)) return error
  const { code } = error as Error & { code?: string }
  const where = `${postgres.host}:${postgres.port}`
  if (isAway(error)) return new UserError(noServer(where))
  switch (code) {
    case '28P01':
    case '28000':
      return new UserError(
        `Postgres at ${where} refuses user "${postgres.user}": set POSTGRES_USER and POSTGRES_PASSWORD.`,
      )
    case '3D000':
      return new UserError(
        `Postgres at ${where} has no database "${postgres.database}": run "web-traffic migrate".`,
      )
    case '42P01':
    case '42703':
      return new UserError(
        `The schema in "${postgres.database}" is missing or old: run "web-traffic migrate".`,
      )
    default:
      return error
  }
}

function noServer(where: string): string {
  return `No Postgres answers at ${where}: start one with "web-traffic cluster up", or set POSTGRES_URL.`
}
