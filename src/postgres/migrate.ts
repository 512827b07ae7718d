import { Migrator } from 'kysely'
import { Pool } from 'pg'
import { UserError } from '../errors'
import type { PostgresConfig } from './connection-pool'
import type { Db } from './database'
import { migrations } from './migrations'

/** PostgreSQL's error code (appendix A of its manual). */
const DUPLICATE_TABLE = '42P07'

/** @returns false if the database existed */
export async function createDatabase(postgres: PostgresConfig): Promise<boolean> {
  const pool = new Pool({ ...postgres, database: 'postgres', max: 1, connectionTimeoutMillis: 5_000 })
  try {
    const { rowCount } = await pool.query('select 1 from pg_database where datname = $1', [postgres.database])
    if (rowCount) return false
    await pool.query(`create database "${postgres.database.replaceAll('"', '""')}"`)
    return true
  } finally {
    await pool.end()
  }
}

const migrator = (db: Db) =>
  new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } })

/** The names of the migrations that have not run. */
export async function pendingMigrations(db: Db): Promise<string[]> {
  const all = await migrator(db).getMigrations()
  return all.filter(({ executedAt }) => executedAt === undefined).map(({ name }) => name)
}

/** Brings the schema up to date; returns the names of the migrations that ran. */
export async function migrate(db: Db): Promise<string[]> {
  const { error, results = [] } = await migrator(db).migrateToLatest()
  if (error === undefined) return results.map(result => result.migrationName)
  const { code, message } = error as Error & { code?: string }
  if (code === DUPLICATE_TABLE)
    throw new UserError(
      `The database has tables that belong to something else (${message}): give the pipeline its own database ` +
        '(POSTGRES_DB). docs/moving-from-spark.md shows how to move from another job.',
    )
  const failed = results.find(result => result.status === 'Error')?.migrationName ?? 'The migration'
  throw new UserError(`${failed} failed: ${message}`)
}
