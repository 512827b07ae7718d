import { sql } from 'kysely'
import { hitsOf, type ColumnarCounts } from '../core/counts/columnar'
import type {
  AppliedPartition,
  ClosedDeltas,
  ClosedOutcome,
  Delta,
  RangeExceptions,
} from '../core/window/protocol'
import { lastCounted } from '../core/window/recount'
import { classifyDelta } from '../core/window/window-state'
import { balanceOf, enterBooks } from './books'
import type { Db, Transaction } from './database'
import { lockWindow, toColumns } from './publish-window'
import { countsOf, dropStagedDeltas } from './staged-deltas'
import { emptyPieces, stagedPieces } from './staged-pieces'

/** Of rejected records the newest so many are named for each partition and reason; the counts are exact. */
export const MAX_REJECTED_EVENTS = 10_000

const EXCEPTIONS_LOCK = 779_135

/**
 * Records the late and rejected records that a range brought to one window; false where that was done before. Range and
 * window are taken in the same transaction as the rows, so a repeat finds them and adds nothing.
 */
export async function recordExceptions(
  db: Db,
  topic: string,
  windowSize: number,
  range: RangeExceptions,
): Promise<boolean> {
  return db.transaction().execute(transaction => recordIn(transaction, topic, windowSize, range))
}

async function recordIn(
  transaction: Transaction,
  topic: string,
  windowSize: number,
  range: RangeExceptions,
): Promise<boolean> {
  if (range.window !== undefined) await lockExceptions(transaction, range.window, 'shared')
  if (!(await isNew(transaction, range))) return false
  const readIn = range.window
  for (const { windowStart, ...counts } of range.late)
    await insertLate(transaction, { ...range, windowStart, windowSize, counts, cause: 'watermark', readIn })
  // In one order, or two ranges of a partition that are recorded at once could wait for each other.
  for (const [reason, records] of Object.entries(range.rejected).sort(([a], [b]) => (a < b ? -1 : 1)))
    await countRejected(transaction, topic, range.partition, reason, records)
  await nameRejected(transaction, topic, range)
  return true
}

/** Held shared by those who record exceptions of a window, and alone by who records all of them again. */
export async function lockExceptions(
  transaction: Transaction,
  window: number,
  mode: 'shared' | 'alone' = 'alone',
): Promise<void> {
  const lock = sql.ref(mode === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock')
  await sql`select ${lock}(${EXCEPTIONS_LOCK}, (${Math.floor(window / 1_000)}::bigint % 2147483647)::int)`.execute(
    transaction,
  )
}

/** Takes the range; false where it is taken, also by an older release, which knew no windows, or by a repair. */
async function isNew(
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

/**
 * Records deltas that reached a window after it closed, as late with cause `closed`. The last offset applied
 * rises in the same transaction, under the window's lock, so that a repeat is known as one.
 *
 * @throws PiecesMissingError where a piece has not arrived yet
 * @throws StagedDeltasMissingError where Postgres has lost a staged delta
 */
export async function recordClosed(
  db: Db,
  closed: ClosedDeltas & { topic: string; windowSize: number },
): Promise<ClosedOutcome> {
  const { start, topic, windowSize, pieces, books } = closed
  const outcome: ClosedOutcome = { lateHits: 0, repeats: 0, overlaps: [] }
  return db.transaction().execute(async transaction => {
    const partitions = await lockClosed(transaction, closed)
    const applied = new Map(partitions.map(partition => [partition.partition, partition]))
    const record = async (delta: Delta) => {
      const { partition, from, first, last } = delta
      const verdict = classifyDelta(delta, applied.get(partition)?.last)
      if (verdict === 'repeat') outcome.repeats++
      if (verdict === 'overlap') outcome.overlaps.push({ partition, first, last })
      if (verdict !== 'applied') return
      const { exceptions } = delta
      if (exceptions && !exceptions.recorded)
        await recordIn(transaction, topic, windowSize, { partition, from, window: start, ...exceptions })
      outcome.lateHits += delta.hits
      applied.set(partition, advanced(delta, applied.get(partition)))
      const late = {
        partition,
        from,
        windowStart: start,
        windowSize,
        counts: delta.staged ? await countsOf(transaction, start, partition, last) : delta,
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
    await dropStagedDeltas(transaction, start, [...applied.values()])
    if (!books) return outcome
    await enterBooks(transaction, start, books)
    const balance = await balanceOf(transaction, start)
    return { ...outcome, ...(balance && { balance }) }
  })
}

/**
 * Locks the row of a closed window; what was applied of each partition. One that had no hits has no row: it is made once
 * there are late ones.
 */
async function lockClosed(
  transaction: Transaction,
  { start, windowSize, deltas, pieces }: ClosedDeltas & { windowSize: number },
): Promise<AppliedPartition[]> {
  if (deltas.some(({ hits }) => hits > 0) || (pieces?.count ?? 0) > 0)
    await lockWindow(transaction, { start, end: start + windowSize })
  const row = await transaction
    .selectFrom('window_results')
    .select('partitions')
    .where('window_start', '=', new Date(start))
    .forUpdate()
    .executeTakeFirst()
  return row?.partitions ?? []
}

/** Known as applied from here on, and not as counted: a replay must not take it for a hit. */
function advanced({ partition, from, basis, last }: Delta, known?: AppliedPartition): AppliedPartition {
  if (!known) return { partition, from, basis, last, counted: from - 1 }
  return { ...known, last, counted: lastCounted(known) }
}

export interface LateCounts {
  partition: number
  from: number
  windowStart: number
  windowSize: number
  counts: ColumnarCounts
  cause: 'watermark' | 'closed'
  /** The window that was the partition's current one, epoch ms. */
  readIn?: number | undefined
}

export async function insertLate(transaction: Transaction, late: LateCounts): Promise<void> {
  const columns = toColumns(late.counts)
  const readIn = late.readIn === undefined ? null : new Date(late.readIn)
  await sql`
    insert into late_deltas (kafka_partition, range_from, window_start, window_end, host, referrer, country,
      num_hits, cause, read_in)
    select ${late.partition}, ${late.from}, ${new Date(late.windowStart)},
      ${new Date(late.windowStart + late.windowSize)}, host, referrer, country, num_hits, ${late.cause},
      ${readIn}::timestamptz
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

/** Adds differences to the counts of a partition, by reason. */
export async function adjustRejected(
  transaction: Transaction,
  topic: string,
  partition: number,
  differences: Map<string, number>,
): Promise<void> {
  for (const [reason, records] of [...differences].sort(([a], [b]) => (a < b ? -1 : 1)))
    if (records !== 0) await countRejected(transaction, topic, partition, reason, records)
}

export async function nameRejected(
  transaction: Transaction,
  topic: string,
  { partition, samples }: Pick<RangeExceptions, 'partition' | 'samples'>,
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
