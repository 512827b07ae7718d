import { sql } from 'kysely'
import type { ColumnarCounts } from '../core/counts/columnar'
import type { AppliedPartition, Delta, StagedDeltas } from '../core/window/protocol'
import { repairCommand } from '../contract/ids'
import type { Db, Transaction } from './database'

/** Deltas that were sent as staged and are not in Postgres: it was restored from a backup, or they were deleted. */
export class StagedDeltasMissingError extends Error {
  override readonly name = 'StagedDeltasMissingError'

  constructor(start: number, what: string) {
    super(`${what} It was restored from a backup, or they were deleted. ${repairCommand(start)}`)
  }
}

/**
 * Puts the counts of a delta into Postgres, where its window's result is put together: once for each window, partition
 * and last offset, whoever repeats it. What is there already stands: whoever reads a range again may have named other
 * groups of it, or have found less of it.
 *
 * @returns the delta as it travels, without its counts
 */
export async function stageDelta(db: Db, start: number, delta: Delta): Promise<Delta> {
  const { partition, first, last, hits, unlocated = 0, hosts, referrers, countries, rows } = delta
  const counts = JSON.stringify({ hosts, referrers, countries, rows } satisfies ColumnarCounts)
  await db
    .insertInto('staged_deltas')
    .values({
      window_start: new Date(start),
      kafka_partition: partition,
      last_offset: last,
      first_offset: first,
      num_hits: hits,
      unlocated,
      counts,
    })
    .onConflict(conflict => conflict.doNothing())
    .execute()
  const staged = await db
    .selectFrom('staged_deltas')
    .select(['first_offset', 'num_hits', 'unlocated'])
    .where('window_start', '=', new Date(start))
    .where('kafka_partition', '=', partition)
    .where('last_offset', '=', last)
    .executeTakeFirst()
  const none = { hosts: [], referrers: [], countries: [], rows: '' }
  // Gone in this moment: the window was closed with it, and this is a repeat.
  const known = staged && { first: staged.first_offset, hits: staged.num_hits, unlocated: staged.unlocated }
  return { ...delta, ...known, ...none, staged: true }
}

/**
 * The counts of a window's staged deltas, one after another; only one of them is in memory.
 *
 * @throws StagedDeltasMissingError where one is not there, or they have other hits than the window was sent
 */
export async function* stagedCounts(
  db: Transaction,
  start: number,
  staged: StagedDeltas = { hits: 0, last: [] },
): AsyncGenerator<ColumnarCounts> {
  const keys = staged.last.flatMap(([partition, offsets]) => offsets.map(last => ({ partition, last })))
  if (keys.length === 0) return
  const found = await sumOf(db, start, keys)
  if (found.deltas !== keys.length || found.hits !== staged.hits)
    throw new StagedDeltasMissingError(
      start,
      `Postgres has ${found.deltas} staged parts of the window with ${found.hits} hits, and the pollers staged ` +
        `${keys.length} with ${staged.hits}.`,
    )
  for (const { partition, last } of keys) yield await countsOf(db, start, partition, last)
}

async function sumOf(
  db: Transaction,
  start: number,
  keys: { partition: number; last: number }[],
): Promise<{ deltas: number; hits: number }> {
  const { rows } = await sql<{ deltas: number; hits: number }>`
    select count(*) as deltas, coalesce(sum(s.num_hits), 0)::bigint as hits
    from staged_deltas s
    join unnest(${keys.map(({ partition }) => partition)}::int[], ${keys.map(({ last }) => last)}::bigint[])
      as keys (partition, last) on s.kafka_partition = keys.partition and s.last_offset = keys.last
    where s.window_start = ${new Date(start)}`.execute(db)
  return rows[0]!
}

/** The counts of one staged delta. */
export async function countsOf(
  db: Transaction,
  start: number,
  partition: number,
  last: number,
): Promise<ColumnarCounts> {
  const row = await db
    .selectFrom('staged_deltas')
    .select('counts')
    .where('window_start', '=', new Date(start))
    .where('kafka_partition', '=', partition)
    .where('last_offset', '=', last)
    .executeTakeFirst()
  if (row) return row.counts
  throw new StagedDeltasMissingError(
    start,
    `Postgres has no staged part of the window from partition ${partition} that ends at offset ${last}.`,
  )
}

/** What a closed window has applied is in its result, or late, and is needed no more; what is beyond may be on its way. */
export async function dropStagedDeltas(
  transaction: Transaction,
  start: number,
  applied: Pick<AppliedPartition, 'partition' | 'last'>[],
): Promise<void> {
  await sql`
    delete from staged_deltas s
    using unnest(${applied.map(({ partition }) => partition)}::int[], ${applied.map(({ last }) => last)}::bigint[])
      as applied (partition, last)
    where s.window_start = ${new Date(start)} and s.kafka_partition = applied.partition
      and s.last_offset <= applied.last`.execute(transaction)
}

/** Repeats of what closed windows have applied, whose signal never came; how many. */
export async function dropStagedRepeats(db: Db): Promise<number> {
  const { numAffectedRows = 0n } = await sql`
    delete from staged_deltas s using window_results w
    where w.window_start = s.window_start and w.status = 'closed'
      and exists (select from jsonb_to_recordset(w.partitions) as applied (partition int, last bigint)
        where applied.partition = s.kafka_partition and s.last_offset <= applied.last)`.execute(db)
  return Number(numAffectedRows)
}
