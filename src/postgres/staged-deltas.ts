import { sql } from 'kysely'
import type { ColumnarCounts } from '../core/counts/columnar'
import type { AppliedPartition, Delta, StagedDeltas } from '../core/window/protocol'
import { repairCommand } from '../contract/ids'
import type { Db, Transaction } from './database'

/** Postgres lacks deltas that were sent as staged. */
export class StagedDeltasMissingError extends Error {
  override readonly name = 'StagedDeltasMissingError'

  constructor(start: number, what: string) {
    super(`${what} Postgres was restored from a backup, or they were deleted. ${repairCommand(start)}`)
  }
}

/**
 * Writes the counts of a delta to Postgres, once per window, partition and last offset. The first version stays: a poller
 * that reads a range again may name other groups, or find fewer records.
 *
 * @returns the delta as it travels, without its counts
 */
export async function stageDelta(db: Db, start: number, delta: Delta): Promise<Delta> {
  const { partition, first, last, hits, unlocated = 0, hosts, referrers, countries, rows } = delta
  const counts = JSON.stringify({ hosts, referrers, countries, rows } satisfies ColumnarCounts)
  await sql`
    insert into staged_deltas (window_start, kafka_partition, last_offset, first_offset, num_hits, unlocated, counts)
    values (${new Date(start)}, ${partition}, ${last}, ${first}, ${hits}, ${unlocated}, ${counts})
    on conflict do nothing`.execute(db)
  const { rows: staged } = await sql<Pick<Delta, 'first' | 'hits' | 'unlocated'>>`
    select first_offset as first, num_hits as hits, unlocated from staged_deltas
    where window_start = ${new Date(start)} and kafka_partition = ${partition} and last_offset = ${last}`.execute(
    db,
  )
  // If the row is gone again, the window was closed with it, and this delta is a repeat.
  const found = staged[0] ?? { unlocated }
  return { ...delta, ...found, hosts: [], referrers: [], countries: [], rows: '', staged: true }
}

/**
 * Yields the counts of a window's staged deltas, with only one in memory.
 *
 * @throws StagedDeltasMissingError if one is missing, or their hits differ from those that the window received
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
      `Postgres has ${found.deltas} staged deltas of the window with ${found.hits} hits, but the pollers staged ` +
        `${keys.length} with ${staged.hits}.`,
    )
  for (const { partition, last } of keys) yield await countsOf(db, start, partition, last)
}

async function sumOf(
  db: Transaction,
  start: number,
  keys: Pick<Delta, 'partition' | 'last'>[],
): Promise<{ deltas: number; hits: number }> {
  const { rows } = await sql<{ deltas: number; hits: number }>`
    select count(*) as deltas, coalesce(sum(s.num_hits), 0)::bigint as hits
    from staged_deltas s
    join unnest(${keys.map(({ partition }) => partition)}::int[], ${keys.map(({ last }) => last)}::bigint[])
      as keys (partition, last) on s.kafka_partition = keys.partition and s.last_offset = keys.last
    where s.window_start = ${new Date(start)}`.execute(db)
  return rows[0]!
}

/** @throws StagedDeltasMissingError */
export async function countsOf(
  db: Transaction,
  start: number,
  partition: number,
  last: number,
): Promise<ColumnarCounts> {
  const { rows } = await sql<{ counts: ColumnarCounts }>`
    select counts from staged_deltas
    where window_start = ${new Date(start)} and kafka_partition = ${partition} and last_offset = ${last}`.execute(
    db,
  )
  if (rows[0]) return rows[0].counts
  throw new StagedDeltasMissingError(
    start,
    `Postgres has no staged delta of the window for partition ${partition} that ends at offset ${last}.`,
  )
}

/** Drops what a closed window has applied. Deltas beyond that may still be on their way. */
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

/** Drops repeats of what closed windows have applied, which were staged and never sent. Returns how many. */
export async function dropStagedRepeats(db: Db): Promise<number> {
  const { numAffectedRows = 0n } = await sql`
    delete from staged_deltas s using window_results w
    where w.window_start = s.window_start and w.status = 'closed'
      and exists (select from jsonb_to_recordset(w.partitions) as applied (partition int, last bigint)
        where applied.partition = s.kafka_partition and s.last_offset <= applied.last)`.execute(db)
  return Number(numAffectedRows)
}
