import type { ConnectionOptions } from 'node:tls'
import { isNativeError } from 'node:util/types'
import { Kysely, PostgresDialect, type Transaction as KyselyTransaction } from 'kysely'
import { Pool, types } from 'pg'
import type { Database } from './schema'

export type Db = Kysely<Database>
export type Transaction = KyselyTransaction<Database>

export interface PostgresConfig {
  host: string
  port: number
  database: string
  user: string
  password?: string
  /** Undefined or false for an unencrypted connection. */
  ssl?: ConnectionOptions | false
}

const NETWORK_ERRORS = new Set(['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNRESET'])

/** No connection could be made. The message names the address, since the Web UI shows it. */
export class PostgresUnreachableError extends Error {
  override name = 'PostgresUnreachableError'

  constructor({ host, port }: PostgresConfig, cause: unknown) {
    super(`Postgres at ${host}:${port} is unreachable.`, { cause })
  }
}

export function openDatabase(postgres: PostgresConfig, maxConnections = 5): Db {
  return new Kysely<Database>({ dialect: dialectFor(postgres, maxConnections) })
}

/** Connects lazily, with the first query. */
export function dialectFor(postgres: PostgresConfig, maxConnections: number): PostgresDialect {
  const pool = new Pool({
    ...postgres,
    max: maxConnections,
    connectionTimeoutMillis: 5_000,
    application_name: 'web-traffic',
    types: { getTypeParser: typeParser },
  })
  // Without these handlers a connection that the server cuts, idle or in use, would end the process.
  pool.on('error', () => undefined)
  pool.on('connect', client => client.on('error', () => undefined))
  const connect = () =>
    pool.connect().catch((error: unknown) => {
      throw isUnreachable(error) ? new PostgresUnreachableError(postgres, error) : error
    })
  return new PostgresDialect({ pool: { connect, end: () => pool.end() } })
}

/** Whether the server could not be reached, or the connection was lost. */
export function isUnreachable(error: unknown): boolean {
  if (!isNativeError(error)) return false
  const { code } = error as Error & { code?: string }
  return (
    (code !== undefined && NETWORK_ERRORS.has(code)) ||
    error instanceof PostgresUnreachableError ||
    /timeout exceeded when trying to connect|Connection terminated/.test(error.message)
  )
}

/** Parses int8 to a number: counts and offsets stay below 2^53. */
const typeParser: typeof types.getTypeParser = ((oid: number, format?: 'text' | 'binary') =>
  oid === Number(types.builtins.INT8) ? Number : (types.getTypeParser(oid, format) as unknown)) as never
