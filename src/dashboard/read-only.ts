import { sql } from 'kysely'
import type { Db, Transaction } from '../postgres/database'

const STATEMENT_TIMEOUT = '10s'

/**
 * Runs queries on one snapshot in a read-only transaction. JIT is off: compiling takes longer than it saves in queries
 * that finish within the timeout.
 */
export function readOnly<T>(db: Db, read: (transaction: Transaction) => Promise<T>): Promise<T> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async transaction => {
      await sql`select set_config('statement_timeout', ${STATEMENT_TIMEOUT}, true), set_config('jit', 'off', true)`.execute(
        transaction,
      )
      return read(transaction)
    })
}

/** PostgreSQL's error code query_canceled (appendix A of its manual). */
const QUERY_CANCELED = '57014'

export function isTimeout(error: unknown): boolean {
  return error instanceof Error && (error as Error & { code?: string }).code === QUERY_CANCELED
}
