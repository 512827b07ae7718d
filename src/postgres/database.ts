import { Kysely, type Transaction as KyselyTransaction } from 'kysely'
import { ConnectionPool, LONG_LIMITS, type Bounds, type PostgresConfig } from './connection-pool'
import type { Database } from './schema'

export type Db = Kysely<Database>
export type Transaction = KyselyTransaction<Database>

/** A database with connections of its own. */
export function openDatabase(
  postgres: PostgresConfig,
  maxConnections: number,
  bounds: Bounds = { limits: LONG_LIMITS },
): Db {
  return databaseOf(new ConnectionPool(postgres, maxConnections), bounds)
}

/** A database that takes its connections from a pool. */
export function databaseOf(pool: ConnectionPool, bounds: Bounds): Db {
  return new Kysely<Database>({ dialect: pool.dialect(bounds) })
}
