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

/** The months that have partitions, oldest first, epoch milliseconds. */
export async function partitionedMonths(db: Db): Promise<number[]> {
  const { rows } = await sql<{ year: number; month: number }>`
    select split_part(suffix, '_', 1)::int as year, split_part(suffix, '_', 2)::int as month
    from (select substring(inhrelid::regclass::text from '(\\d{4,}_\\d\\d)"?$') as suffix from pg_inherits
      where inhparent = to_regclass('traffic_rollups')) partitions
    order by 1, 2`.execute(db)
  return rows.map(({ year, month }) => Date.UTC(year, month - 1))
}

/** Longer than most transactions that write; who writes waits behind whoever waits here. */
const WAIT_AT_MOST = '2s'

/** Keeps everybody else from writing to a month until the transaction ends. Rejects where that cannot be had soon. */
export async function lockMonth(transaction: Transaction, start: number): Promise<void> {
  await sql`select set_config('lock_timeout', ${WAIT_AT_MOST}, true)`.execute(transaction)
  await sql`select pg_advisory_xact_lock(779134, month_number(${new Date(start)}))`.execute(transaction)
}
