import { sql } from 'kysely'
import type { GroupCounter } from '../core/counts/columnar'
import {
  isBalanced,
  type AppliedPartition,
  type Balance,
  type Sums,
  type ToldBook,
} from '../core/window/protocol'
import { lastCounted, type CountedStretch } from '../core/window/recount'
import type { Incomplete, Repaired } from '../contract/activities'
import { acceptedLoss, balanceOf, correctBooks, enterBooks } from './books'
import { isRight } from './compare-window'
import type { Db, Transaction } from './database'
import { addLate } from './late-deltas'
import { createPartitions } from './partitions'
import { lockExceptions } from './record-exceptions'
import { repairExceptions } from './repair-exceptions'
import { dropStagedDeltas } from './staged-deltas'
import { dropPieces } from './staged-pieces'
import { replaceRecounted } from './window-counts'
import { createWindowRow, lockWindowRow, updateWindowRow, type WindowRow } from './window-row'

/** A window as it was counted again from the log. */
export interface RecountedWindow {
  start: number
  end: number
  topic: string
  counter: GroupCounter
  /** @param withLost whether records that retention removed before they were read count as rejected */
  stretches: (withLost: boolean) => CountedStretch[]
  /** The books that the ledger has sent the window, or is about to. */
  books: ToldBook[]
  /** Whether a person has accepted the loss of what the log no longer has. */
  acceptLoss: boolean
}

/** Rolls the transaction back. */
class IncompleteError extends Error {
  constructor(
    readonly told: Sums,
    readonly found: Sums,
  ) {
    super('The log does not have what was announced for the window.')
  }
}

/**
 * Publishes a window that was counted again from the log, with its exceptions, in one transaction under the window's row
 * lock. Only what is wrong is written, so a repeat changes nothing. Everything that was counted is then known as
 * applied: its deltas are repeats, and later ones are late.
 */
export async function repairWindow(db: Db, window: RecountedWindow): Promise<Repaired | Incomplete> {
  try {
    return await db.transaction().execute(transaction => repairIn(transaction, window))
  } catch (error) {
    if (!(error instanceof IncompleteError)) throw error
    return { outcome: 'incomplete', told: error.told, found: error.found }
  }
}

async function repairIn(transaction: Transaction, window: RecountedWindow): Promise<Repaired> {
  const { start, books, counter } = window
  await createPartitions(transaction, start)
  const row = await lockRow(transaction, window)
  const hitsBefore = row?.num_hits ?? 0
  await lockExceptions(transaction, start)
  await enterBooks(transaction, start, books)
  const told = (await balanceOf(transaction, start))?.told
  const hasBooks = told !== undefined && books.every(book => 'hits' in book)

  const exceptionsBefore = await exceptionsOf(transaction, start)
  // How many exceptions travelled to a window of a release without books is unknown, so they stay as they are.
  const stretches = hasBooks ? await chooseStretches(transaction, window, told) : window.stretches(false)
  if (hasBooks) for (const stretch of stretches) await repairExceptions(transaction, window, stretch)
  await deleteLateHits(transaction, start, stretches)
  const { changed, revision } = await repairCounts(transaction, window, row)

  const beyond = await beyondStretches(transaction, start, stretches)
  if (!hasBooks && !window.acceptLoss && counter.hits < hitsBefore)
    throw new IncompleteError(
      { hits: hitsBefore, exceptions: exceptionsBefore },
      { hits: counter.hits, exceptions: exceptionsBefore },
    )
  const balance = hasBooks ? await balanceBooks(transaction, window, beyond) : undefined
  const applied = await updatePartitions(transaction, window, row?.partitions ?? [], stretches)
  await dropPieces(transaction, start)
  await dropStagedDeltas(transaction, start, applied)
  const exceptions = await exceptionsOf(transaction, start)
  return {
    outcome: changed || exceptions !== exceptionsBefore ? 'repaired' : 'unchanged',
    ...{ revision, hits: counter.hits, hitsBefore, exceptions, exceptionsBefore },
    ...(balance && { balance }),
    lost: await acceptedLoss(transaction, start),
  }
}

/** Locks the window's row; undefined for a window with only exceptions, which gets none. */
async function lockRow(transaction: Transaction, window: RecountedWindow): Promise<WindowRow | undefined> {
  if (window.counter.hits > 0 || window.acceptLoss) await createWindowRow(transaction, window)
  return lockWindowRow(transaction, window.start)
}

async function exceptionsOf(transaction: Transaction, start: number): Promise<number> {
  const { rows } = await sql<{ records: number }>`
    select coalesce(sum(records), 0)::bigint as records from exception_ranges
    where window_start = ${new Date(start)}`.execute(transaction)
  return rows[0]!.records
}

/** Only the books tell whether records missing from the log were already missing when they were to be read. */
async function chooseStretches(
  transaction: Transaction,
  { start, stretches }: RecountedWindow,
  told: Sums,
): Promise<CountedStretch[]> {
  const withLost = stretches(true)
  const { exceptions: beyond } = await beyondStretches(transaction, start, withLost)
  const records = withLost.reduce((sum, stretch) => sum + stretch.records, beyond)
  return records === told.exceptions ? withLost : stretches(false)
}

/** What was recorded of ranges after the stretches. It is in no book yet. */
async function beyondStretches(
  transaction: Transaction,
  start: number,
  stretches: CountedStretch[],
): Promise<Sums> {
  const [partitions, ends] = [stretches.map(s => s.partition), stretches.map(s => s.to)]
  const at = new Date(start)
  const { rows } = await sql<Sums>`
    with stretches as (select * from unnest(${partitions}::int[], ${ends}::bigint[]) as stretch (partition, ends))
    select
      (select coalesce(sum(num_hits), 0)::bigint from late_deltas join stretches on kafka_partition = partition
        where window_start = ${at} and cause = 'closed' and brought_in is null and range_from >= ends) as hits,
      (select coalesce(sum(records), 0)::bigint from exception_ranges join stretches on kafka_partition = partition
        where window_start = ${at} and range_from >= ends) as exceptions`.execute(transaction)
  return rows[0]!
}

/**
 * @returns the balance without what is beyond the stretches
 * @throws IncompleteError if the window does not balance and the loss is not accepted
 */
async function balanceBooks(
  transaction: Transaction,
  { start, acceptLoss }: RecountedWindow,
  beyond: Sums,
): Promise<Balance> {
  const { told, accounted: all } = (await balanceOf(transaction, start))!
  const accounted = { hits: all.hits - beyond.hits, exceptions: all.exceptions - beyond.exceptions }
  if (isBalanced({ told, accounted })) return { told, accounted }
  if (!acceptLoss) throw new IncompleteError(told, accounted)
  await correctBooks(transaction, start, { told, accounted })
  return { told: accounted, accounted }
}

/** Deletes late events that arrived after the window had closed and that are now counted as its hits. */
async function deleteLateHits(
  transaction: Transaction,
  start: number,
  stretches: CountedStretch[],
): Promise<void> {
  const [partitions, ends] = [stretches.map(s => s.partition), stretches.map(s => s.hitsTo)]
  await sql`
    delete from late_deltas
    using unnest(${partitions}::int[], ${ends}::bigint[]) as stretch (partition, hits_to)
    where window_start = ${new Date(start)} and cause = 'closed' and kafka_partition = partition
      and range_from < hits_to`.execute(transaction)
}

async function repairCounts(
  transaction: Transaction,
  window: RecountedWindow,
  row: WindowRow | undefined,
): Promise<{ changed: boolean; revision: number }> {
  const { start, counter } = window
  await addLate(transaction, start, counter, false)
  const revision = row?.revision ?? 0
  const hasResult = row && (row.status === 'closed' || revision > 0)
  const isEmpty = !hasResult && counter.hits === 0
  if (isEmpty || (row?.status === 'closed' && (await isRight(transaction, row, counter))))
    return { changed: false, revision }
  await replaceRecounted(transaction, window, counter, revision + 1)
  return { changed: true, revision: revision + 1 }
}

/** Closes the window with what the stretches have applied, or an earlier run, if that is further. */
async function updatePartitions(
  transaction: Transaction,
  { start, acceptLoss }: RecountedWindow,
  known: AppliedPartition[],
  stretches: CountedStretch[],
): Promise<AppliedPartition[]> {
  const applied = new Map(known.map(partition => [partition.partition, partition]))
  for (const { partition, from, basis, to, last: lastFound, lastHit } of stretches) {
    const before = applied.get(partition)
    const last = Math.max(acceptLoss ? to - 1 : lastFound, before?.last ?? -1)
    const isKnown = before?.from === from && before.last === last && lastHit <= lastCounted(before)
    if (isKnown || last < from) continue
    applied.set(partition, { partition, from, basis, last, ...(lastHit < last && { counted: lastHit }) })
  }
  const partitions = [...applied.values()].sort((a, b) => a.partition - b.partition)
  await updateWindowRow(transaction, start, { status: 'closed', partitions: JSON.stringify(partitions) })
  return partitions
}
