import type { ConnectionOptions } from 'node:tls'
import { isNativeError } from 'node:util/types'
import { Kysely, PostgresDialect, type Transaction as KyselyTransaction } from 'kysely'
import { Pool, types } from 'pg'
import type { Database } from './schema'

export type Db = Kysely<Database>
export type Transaction = KyselyTransaction<Database>

const NETWORK = new Set(['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNRESET'])

/** No connection came about; says where, for whoever sees an activity being retried. */
export class PostgresUnreachableError extends Error {
  override name = 'PostgresUnreachableError'
}

export function openDatabase(postgres: PostgresConfig, connections = 5): Db {
  return new Kysely<Database>({ dialect: dialectFor(postgres, connections) })
}

/** Connects lazily: nothing is opened before the first query. */
export function dialectFor(postgres: PostgresConfig, connections: number): PostgresDialect {
  const pool = new Pool({
    ...postgres,
    max: connections,
    connectionTimeoutMillis: 5_000,
    application_name: 'web-traffic',
    types: { getTypeParser: typeParser },
  })
  // An idle connection that the server cuts must not end the process: the next query opens another.
  pool.on('error', () => undefined)
  // Nor one that is cut while it is in use: the query that it carries fails, and is retried.
  pool.on('connect', client => client.on('error', () => undefined))
  const connect = () =>
    pool.connect().catch((error: unknown) => {
      if (!isUnreachable(error)) throw error
      const { host, port } = postgres
      throw new PostgresUnreachableError(`No Postgres answers at ${host}:${port}.`, { cause: error })
    })
  return new PostgresDialect({ pool: { connect, end: () => pool.end() } })
}

/** Whether an error means that no server was there to answer, or none any more. */
export function isUnreachable(error: unknown): boolean {
  if (!isNativeError(error)) return false
  const { code } = error as Error & { code?: string }
  if (code !== undefined && NETWORK.has(code)) return true
  return (
    error instanceof PostgresUnreachableError ||
    /timeout exceeded when trying to connect|Connection terminated/.test(error.message)
  )
}

const typeParser: typeof types.getTypeParser = ((oid: number, format?: 'text' | 'binary') =>
  oid === Number(types.builtins.INT8) ? Number : (types.getTypeParser(oid, format) as unknown)) as never

export interface PostgresConfig {
  host: string
  port: number
  database: string
  user: string
  password?: string
  /** Undefined or false where the connection is not encrypted. */
  ssl?: ConnectionOptions | false
}
