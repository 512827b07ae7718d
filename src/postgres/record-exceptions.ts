import { sql } from 'kysely'
import { groups, hitsOf } from '../core/counts/columnar'
import type { RangeExceptions } from '../core/window/protocol'
import type { Db, Transaction } from './database'
import { insertLate } from './late-deltas'
import { addRejected, nameRejected } from './rejected'

const EXCEPTIONS_LOCK = 779_135
const RANGES_LOCK = 779_136

/**
 * Records the late and rejected records of a range that travelled with one window. The range and window are entered in
 * the same transaction, so a repeat adds nothing.
 *
 * No two entries of a partition and window overlap, so no record is counted twice, even if Temporal or Postgres was
 * restored from a backup and the log is cut into other ranges. If a range overlaps an entry and goes beyond it, its rest
 * is not recorded either: the books of the window then do not balance, and a repair counts it again.
 *
 * @returns false if some of them were already recorded
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
  if (readIn !== undefined) await lockRange(transaction, readIn, partition)
  if (!(await enterRange(transaction, range))) return false
  const late = {
    partition,
    from,
    windowSize,
    cause: 'watermark',
    ...(readIn !== undefined && { readIn }),
  } as const
  for (const { windowStart, ...counts } of range.late)
    await insertLate(transaction, { ...late, windowStart, counts: groups(counts) })
  await addRejected(transaction, topic, partition, range.rejected)
  await nameRejected(transaction, topic, range)
  return true
}

/** Locks all exceptions of a window, to repair them. */
export async function lockExceptions(transaction: Transaction, window: number): Promise<void> {
  await sql`select pg_advisory_xact_lock(${EXCEPTIONS_LOCK}, ${lockKey(window)})`.execute(transaction)
}

/** Locks the exceptions of one partition in a window. Those of others can be recorded meanwhile. */
async function lockRange(transaction: Transaction, window: number, partition: number): Promise<void> {
  await sql`
    select pg_advisory_xact_lock_shared(${EXCEPTIONS_LOCK}, ${lockKey(window)}),
      pg_advisory_xact_lock(${RANGES_LOCK}, ${lockKey(window, partition)})`.execute(transaction)
}

/** Equal keys of different windows or partitions only cost waiting. */
function lockKey(window: number, partition = 0): number {
  return (Math.floor(window / 1_000) + partition) % 2_147_483_647
}

/**
 * @returns false if the range overlaps one that is entered for this window (by a repair, a longer one), or if an older
 *   release has entered it without a window
 */
async function enterRange(
  transaction: Transaction,
  { partition, from, to = from + 1, window, late, rejected }: RangeExceptions,
): Promise<boolean> {
  const lateHits = late.reduce((sum, counts) => sum + hitsOf(counts), 0)
  const records = Object.values(rejected).reduce((sum, records) => sum + records, lateHits)
  const readIn = window === undefined ? sql`'-infinity'::timestamptz` : sql`${new Date(window)}`
  const { numAffectedRows } = await sql`
    insert into exception_ranges (kafka_partition, range_from, range_to, window_start, records, rejected)
    select ${partition}::int, ${from}::bigint, ${to}::bigint, ${readIn}, ${records}::bigint,
      ${JSON.stringify(rejected)}::jsonb
    where not exists (select from exception_ranges
      where kafka_partition = ${partition} and range_from = ${from} and window_start = '-infinity')
      and not exists (select from exception_ranges
        where kafka_partition = ${partition} and window_start = ${readIn} and range_from < ${to}
          and coalesce(range_to, range_from + 1) > ${from})
    on conflict do nothing`.execute(transaction)
  return numAffectedRows === 1n
}
