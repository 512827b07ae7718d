import { sql } from 'kysely'
import type { Db, Transaction } from './database'

/**
 * Makes the partitions that a window's counts go to, where they are missing, and keeps them from being dropped or
 * summed up until the transaction ends. To be called before the window's row is locked: whoever waits for a month must
 * hold nothing that a writer of the month waits for.
 *
 * @param start epoch milliseconds
 */
export async function createPartitions(db: Db | Transaction, start: number): Promise<void> {
  await sql`select create_partitions(${new Date(start)})`.execute(db)
}
