import { sql } from 'kysely'
import type { ColumnarCounts } from '../core/columnar'
import type { AppliedPartition, ClosedDeltas, ClosedOutcome, Delta, RangeExceptions } from '../core/messages'
import { lastCounted } from '../core/recount'
import { judge } from '../core/window-state'
import type { Db, Transaction } from './database'
import { toColumns } from './publish-window'
import { emptyPieces, stagedPieces } from './staged-pieces'

/** Of rejected records the newest so many are named for each partition and reason; the counts are exact. */
export const MAX_REJECTED_EVENTS = 10_000

/**
 * Records the late and rejected records of one range; false where that was done before. The range's start is
 * taken in the same transaction as the rows, so a repeat finds it and adds nothing.
 */
export async function recordExceptions(
  db: Db,
  topic: string,
  windowSize: number,
  range: RangeExceptions,
): Promise<boolean> {
  return db.transaction().execute(async transaction => {
    const { numInsertedOrUpdatedRows } = await transaction
      .insertInto('exception_ranges')
      .values({ kafka_partition: range.partition, range_from: range.from })
      .onConflict(conflict => conflict.doNothing())
      .executeTakeFirstOrThrow()
    if (numInsertedOrUpdatedRows === 0n) return false
    for (const { windowStart, ...counts } of range.late)
      await insertLate(transaction, { ...range, windowStart, windowSize, counts, cause: 'watermark' })
    // In one order, or two ranges of a partition that are recorded at once could wait for each other.
    for (const [reason, records] of Object.entries(range.rejected).sort(([a], [b]) => (a < b ? -1 : 1)))
      await countRejected(transaction, topic, range.partition, reason, records)
    await nameRejected(transaction, topic, range)
    return true
  })
}

/**
 * Records deltas that reached a window after it closed, as late with cause `closed`. The last offset applied
 * rises in the same transaction, under the window's lock, so that a repeat is known as one.
 *
 * @throws PiecesMissing where a piece has not arrived yet
 */
export async function recordClosed(
  db: Db,
  closed: ClosedDeltas & { windowSize: number },
): Promise<ClosedOutcome> {
  const { start, windowSize, pieces } = closed
  const outcome: ClosedOutcome = { lateHits: 0, repeats: 0, overlaps: [] }
  return db.transaction().execute(async transaction => {
    const { partitions } = await transaction
      .selectFrom('window_results')
      .select('partitions')
      .where('window_start', '=', new Date(start))
      .forUpdate()
      .executeTakeFirstOrThrow()
    const applied = new Map(partitions.map(partition => [partition.partition, partition]))
    const record = async (delta: Delta) => {
      const { partition, from, first, last } = delta
      const verdict = judge(delta, applied.get(partition)?.last)
      if (verdict === 'repeat') outcome.repeats++
      if (verdict === 'overlap') outcome.overlaps.push({ partition, first, last })
      if (verdict !== 'applied') return
      outcome.lateHits += delta.hits
      applied.set(partition, advanced(delta, applied.get(partition)))
      const late = {
        partition,
        from,
        windowStart: start,
        windowSize,
        counts: delta,
        cause: 'closed' as const,
      }
      await insertLate(transaction, late)
    }
    for await (const piece of stagedPieces(transaction, start, pieces))
      for (const delta of piece) await record(delta as Delta)
    for (const delta of closed.deltas) await record(delta)
    await transaction
      .updateTable('window_results')
      .set({ status: 'closed', partitions: JSON.stringify([...applied.values()]) })
      .where('window_start', '=', new Date(start))
      .execute()
    if (pieces) await emptyPieces(transaction, start, pieces)
    return outcome
  })
}

/** Known as applied from here on, and not as counted: a replay must not take it for a hit. */
function advanced({ partition, from, basis, last }: Delta, known?: AppliedPartition): AppliedPartition {
  if (!known) return { partition, from, basis, last, counted: from - 1 }
  return { ...known, last, counted: lastCounted(known) }
}

interface LateCounts {
  partition: number
  from: number
  windowStart: number
  windowSize: number
  counts: ColumnarCounts
  cause: 'watermark' | 'closed'
}

async function insertLate(transaction: Transaction, late: LateCounts): Promise<void> {
  const columns = toColumns(late.counts)
  await sql`
    insert into late_deltas (kafka_partition, range_from, window_start, window_end, host, referrer, country,
      num_hits, cause)
    select ${late.partition}, ${late.from}, ${new Date(late.windowStart)},
      ${new Date(late.windowStart + late.windowSize)}, host, referrer, country, num_hits, ${late.cause}
    from unnest(${columns.hosts}::text[], ${columns.referrers}::text[], ${columns.countries}::text[],
      ${columns.hits}::bigint[]) as delta (host, referrer, country, num_hits)`.execute(transaction)
}

async function countRejected(
  transaction: Transaction,
  topic: string,
  partition: number,
  reason: string,
  records: number,
): Promise<void> {
  await transaction
    .insertInto('rejected_counts')
    .values({ topic, partition, reason, records })
    .onConflict(conflict =>
      conflict
        .columns(['topic', 'partition', 'reason'])
        .doUpdateSet({ records: sql`rejected_counts.records + excluded.records` }),
    )
    .execute()
}

async function nameRejected(
  transaction: Transaction,
  topic: string,
  { partition, samples }: RangeExceptions,
): Promise<void> {
  if (samples.length === 0) return
  const offsets = samples.map(([offset]) => offset)
  const reasons = samples.map(([, reason]) => reason)
  await sql`
    insert into rejected_events (topic, partition, kafka_offset, reason)
    select ${topic}, ${partition}::int, kafka_offset, reason
    from unnest(${offsets}::bigint[], ${reasons}::text[]) as sample (kafka_offset, reason)
    on conflict do nothing`.execute(transaction)
  // A statement for each reason: over all of them at once Postgres may look the bound up anew for every row.
  for (const reason of new Set(reasons))
    await sql`
      delete from rejected_events
      where topic = ${topic} and partition = ${partition}::int and reason = ${reason}
        and kafka_offset <= (
          select kafka_offset from rejected_events
          where topic = ${topic} and partition = ${partition}::int and reason = ${reason}
          order by kafka_offset desc offset ${MAX_REJECTED_EVENTS} limit 1)`.execute(transaction)
}
