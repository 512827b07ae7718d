import { sql } from 'kysely'
import { hitsOf } from '../core/counts/columnar'
import type { RangeExceptions } from '../core/window/protocol'
import type { Db, Transaction } from './database'
import { insertLate } from './late-deltas'
import { addRejected, nameRejected } from './rejected'

const EXCEPTIONS_LOCK = 779_135

/**
 * Records the late and rejected records of a range that travelled with one window. The range and window are entered in
 * the same transaction, so a repeat adds nothing.
 *
 * @returns false if they were already recorded
 */
export async function recordExceptions(
  db: Db,
  topic: string,
  windowSize: number,
  range: RangeExceptions,
): Promise<boolean> {
  return db.transaction().execute(transaction => recordRange(transaction, topic, windowSize, range))
}

/** {@link recordExceptions} within a transaction. */
export async function recordRange(
  transaction: Transaction,
  topic: string,
  windowSize: number,
  range: RangeExceptions,
): Promise<boolean> {
  const { partition, from, window: readIn } = range
  if (readIn !== undefined) await lockExceptions(transaction, readIn, 'shared')
  if (!(await enterRange(transaction, range))) return false
  const late = {
    partition,
    from,
    windowSize,
    cause: 'watermark',
    ...(readIn !== undefined && { readIn }),
  } as const
  for (const { windowStart, ...counts } of range.late)
    await insertLate(transaction, { ...late, windowStart, counts })
  await addRejected(transaction, topic, partition, range.rejected)
  await nameRejected(transaction, topic, range)
  return true
}

/** Recording the exceptions of a window takes a shared lock; repairing all of them takes an exclusive lock. */
export async function lockExceptions(
  transaction: Transaction,
  window: number,
  mode: 'shared' | 'exclusive',
): Promise<void> {
  const lock = sql.ref(mode === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock')
  await sql`select ${lock}(${EXCEPTIONS_LOCK}, (${Math.floor(window / 1_000)}::bigint % 2147483647)::int)`.execute(
    transaction,
  )
}

/**
 * @returns false if the range is already entered. It may be entered for this window, without a window (by an older
 *   release), or within a longer range (by a repair).
 */
async function enterRange(
  transaction: Transaction,
  { partition, from, window, late, rejected }: RangeExceptions,
): Promise<boolean> {
  const lateHits = late.reduce((sum, counts) => sum + hitsOf(counts), 0)
  const records = Object.values(rejected).reduce((sum, records) => sum + records, lateHits)
  const readIn = window === undefined ? sql`'-infinity'::timestamptz` : sql`${new Date(window)}`
  const { numAffectedRows } = await sql`
    insert into exception_ranges (kafka_partition, range_from, window_start, records, rejected)
    select ${partition}::int, ${from}::bigint, ${readIn}, ${records}::bigint, ${JSON.stringify(rejected)}::jsonb
    where not exists (select from exception_ranges
      where kafka_partition = ${partition} and range_from = ${from} and window_start = '-infinity')
      and not exists (select from exception_ranges
        where kafka_partition = ${partition} and window_start = ${readIn} and range_to > ${from})
    on conflict do nothing`.execute(transaction)
  return numAffectedRows === 1n
}
