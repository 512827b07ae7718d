import { sql } from 'kysely'
import type { Db, Transaction } from '../postgres/database'

/** Longer than the longest range should take; whoever looks at the page has gone by then. */
const STATEMENT_TIMEOUT = '10s'

/**
 * Runs queries that see one state of the database, can change nothing, and end. Compiling them costs more than it
 * saves at the sizes that end in time.
 */
export function reading<T>(db: Db, read: (transaction: Transaction) => Promise<T>): Promise<T> {
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

/** PostgreSQL's error code for a statement that was ended (appendix A of its manual). */
const QUERY_CANCELED = '57014'

export function tookTooLong(error: unknown): boolean {
  return error instanceof Error && (error as Error & { code?: string }).code === QUERY_CANCELED
}
