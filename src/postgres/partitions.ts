import { sql } from 'kysely'
import type { Db, Transaction } from './database'

/**
 * Creates the partitions for a window's counts if they are missing, and keeps their month from being dropped or rolled up
 * until the transaction ends. Call it before locking the window's row: a transaction that waits for a month must not
 * hold a lock that a writer of that month waits for.
 *
 * @param start epoch milliseconds
 */
export async function createPartitions(db: Db | Transaction, start: number): Promise<void> {
  await sql`select create_partitions(${new Date(start)})`.execute(db)
}

/** The months that have partitions, oldest first, epoch milliseconds. */
export async function partitionedMonths(db: Db): Promise<number[]> {
  const { rows } = await sql<{ year: number; month: number }>`
    select split_part(suffix, '_', 1)::int as year, split_part(suffix, '_', 2)::int as month
    from (select substring(inhrelid::regclass::text from '(\\d{4,}_\\d\\d)"?$') as suffix from pg_inherits
      where inhparent = to_regclass('traffic_rollups')) partitions
    order by 1, 2`.execute(db)
  return rows.map(({ year, month }) => Date.UTC(year, month - 1))
}

/** Longer than most transactions that write; writers queue behind a transaction that waits for this lock. */
const MAX_WAIT = '2s'

/** Blocks other writers of a month until the transaction ends. Rejects if the lock is not free within {@link MAX_WAIT}. */
export async function lockMonth(transaction: Transaction, start: number): Promise<void> {
  await sql`select set_config('lock_timeout', ${MAX_WAIT}, true)`.execute(transaction)
  await sql`select pg_advisory_xact_lock(779134, month_number(${new Date(start)}))`.execute(transaction)
}
