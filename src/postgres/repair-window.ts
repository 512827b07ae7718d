import { sql } from 'kysely'
import { groups, GroupCounter, type ColumnarCounts } from '../core/counts/columnar'
import {
  isBalanced,
  type AppliedPartition,
  type Balance,
  type Sums,
  type ToldBook,
} from '../core/window/protocol'
import { lastCounted, type CountedStretch } from '../core/window/recount'
import { acceptedLoss, balanceOf, correctBooks, enterBooks } from './books'
import { compareWindow } from './compare-window'
import type { Db, Transaction } from './database'
import { createPartitions } from './partitions'
import { deleteCounts, insertCounts, lockWindow } from './publish-window'
import { adjustRejected, insertLate, lockExceptions, nameRejected } from './record-exceptions'
import { dropStagedDeltas } from './staged-deltas'
import { dropPieces } from './staged-pieces'
import type { Incomplete, Repaired } from '../contract/activities'

/** A window as it was counted again from the log. */
export interface RecountedWindow {
  start: number
  end: number
  topic: string
  counter: GroupCounter
  /** @param withLost whether what Kafka no longer has was lost before it was read */
  stretches: (withLost: boolean) => CountedStretch[]
  /** What the ledger told the window, or is about to. */
  books: ToldBook[]
  /** Whether what the log no longer has is given up. */
  acceptLoss: boolean
}

/** Undoes the transaction. */
class IncompleteError extends Error {
  constructor(readonly incomplete: Incomplete) {
    super('The log does not have what was announced for the window.')
  }
}

/**
 * Publishes a window that was counted again from the log, with its exceptions, in one transaction under the window's row
 * lock. What is right stays as it is, so that a repeat changes nothing. Everything that was counted is known as applied
 * from then on: its delta is a repeat, and a later one is late.
 */
export async function repairWindow(db: Db, window: RecountedWindow): Promise<Repaired | Incomplete> {
  try {
    return await db.transaction().execute(transaction => repairIn(transaction, window))
  } catch (error) {
    if (error instanceof IncompleteError) return error.incomplete
    throw error
  }
}

async function repairIn(transaction: Transaction, window: RecountedWindow): Promise<Repaired> {
  const { start, books } = window
  await createPartitions(transaction, start)
  const known = await lock(transaction, window)
  await lockExceptions(transaction, start)
  await enterBooks(transaction, start, books)
  const told = (await balanceOf(transaction, start))?.told
  const hasBooks = told !== undefined && books.every(book => 'hits' in book)

  const exceptionsBefore = await exceptionsOf(transaction, start)
  // Nobody knows how many exceptions travelled to a window of a release without books: they stay as they are.
  const stretches = hasBooks ? await chooseStretches(transaction, window, told) : window.stretches(false)
  if (hasBooks) for (const stretch of stretches) await repairExceptions(transaction, window, stretch)
  await deleteLateHits(transaction, start, stretches)
  const counts = await repairCounts(transaction, window, known)

  const beyond = await beyondOf(transaction, start, stretches)
  if (hasBooks) await checkBooks(transaction, window, beyond)
  else if (!window.acceptLoss && counts.hits < known.hits) {
    const found = { hits: counts.hits, exceptions: exceptionsBefore }
    throw new IncompleteError({
      outcome: 'incomplete',
      told: { hits: known.hits, exceptions: exceptionsBefore },
      found,
    })
  }
  const balance = hasBooks ? minus(await balanceOf(transaction, start), beyond) : undefined
  const lost = await acceptedLoss(transaction, start)
  const applied = await updatePartitions(transaction, window, known, stretches)
  await dropPieces(transaction, start)
  await dropStagedDeltas(transaction, start, applied)
  const exceptions = await exceptionsOf(transaction, start)
  const { changed, ...result } = counts
  return {
    outcome: changed || exceptions !== exceptionsBefore ? 'repaired' : 'unchanged',
    ...result,
    ...{ exceptions, exceptionsBefore },
    ...(balance && { balance }),
    lost,
  }
}

interface Known {
  isNew: boolean
  status: 'published' | 'closed'
  revision: number
  hits: number
  partitions: AppliedPartition[]
}

/** Locks the window's row. One that has nothing but exceptions gets none. */
async function lock(transaction: Transaction, window: RecountedWindow): Promise<Known> {
  if (window.counter.hits > 0 || window.acceptLoss) await lockWindow(transaction, window)
  const row = await transaction
    .selectFrom('window_results')
    .select(['status', 'revision', 'num_hits as hits', 'partitions'])
    .where('window_start', '=', new Date(window.start))
    .forUpdate()
    .executeTakeFirst()
  if (!row) return { isNew: true, status: 'published', revision: 0, hits: 0, partitions: [] }
  return { ...row, isNew: row.status === 'published' && row.revision === 0 }
}

async function exceptionsOf(transaction: Transaction, start: number): Promise<number> {
  const { rows } = await sql<{ records: number }>`
    select coalesce(sum(records), 0)::bigint as records from exception_ranges
    where window_start = ${new Date(start)}`.execute(transaction)
  return rows[0]!.records
}

/** Records that retention removed before they were read are exceptions too; only the books tell them from lost ones. */
async function chooseStretches(
  transaction: Transaction,
  { start, stretches }: RecountedWindow,
  told: Sums,
): Promise<CountedStretch[]> {
  const withLost = stretches(true)
  const { exceptions: beyond } = await beyondOf(transaction, start, withLost)
  const records = withLost.reduce((sum, stretch) => sum + stretch.records, beyond)
  return records === told.exceptions ? withLost : stretches(false)
}

/** What was recorded of ranges after the stretches: it is in no book yet. */
async function beyondOf(transaction: Transaction, start: number, stretches: CountedStretch[]): Promise<Sums> {
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

function minus(balance: Balance | undefined, beyond: Sums): Balance | undefined {
  if (!balance) return undefined
  const { hits, exceptions } = balance.accounted
  return {
    told: balance.told,
    accounted: { hits: hits - beyond.hits, exceptions: exceptions - beyond.exceptions },
  }
}

/** Corrects the books where a loss is accepted. */
async function checkBooks(
  transaction: Transaction,
  { start, acceptLoss }: RecountedWindow,
  beyond: Sums,
): Promise<void> {
  const balance = minus(await balanceOf(transaction, start), beyond)
  if (!balance || isBalanced(balance)) return
  const { told, accounted } = balance
  if (!acceptLoss) throw new IncompleteError({ outcome: 'incomplete', told, found: accounted })
  await correctBooks(transaction, start, balance)
}

/** Records the exceptions of a stretch in place of those of its ranges. */
async function repairExceptions(
  transaction: Transaction,
  { start, end, topic, acceptLoss }: RecountedWindow,
  stretch: CountedStretch,
): Promise<void> {
  const { partition, from, to, records, exceptions } = stretch
  const at = new Date(start)
  const before = await transaction
    .deleteFrom('exception_ranges')
    .where('window_start', '=', at)
    .where('kafka_partition', '=', partition)
    .where('range_from', '<', to)
    .returning(['rejected', 'range_to'])
    .execute()
  const differences = new Map<string, number>(Object.entries(exceptions.rejected))
  for (const { rejected } of before)
    for (const [reason, records] of Object.entries(rejected))
      differences.set(reason, (differences.get(reason) ?? 0) - records)
  await adjustRejected(transaction, topic, partition, differences)
  await nameRejected(transaction, topic, exceptions)
  await transaction
    .deleteFrom('late_deltas')
    .where('read_in', '=', at)
    .where('cause', '=', 'watermark')
    .where('kafka_partition', '=', partition)
    .where('range_from', '<', to)
    .where('brought_in', 'is', null)
    .execute()
  for (const { windowStart, ...counts } of exceptions.late) {
    const rest = await withoutBroughtIn(transaction, start, stretch, windowStart, counts)
    const late = { partition, from, windowStart, windowSize: end - start, counts: rest, readIn: start }
    await insertLate(transaction, { ...late, cause: 'watermark' })
  }
  // Where the log has none, none can come again.
  if (records === 0 && before.length === 0 && !acceptLoss) return
  const last = acceptLoss ? to - 1 : stretch.last
  await transaction
    .insertInto('exception_ranges')
    .values({
      kafka_partition: partition,
      range_from: from,
      range_to: Math.max(last + 1, from, ...before.map(({ range_to }) => range_to ?? 0)),
      window_start: at,
      records,
      rejected: JSON.stringify(exceptions.rejected),
    })
    .execute()
}

/** Late events that a replay brought into their window's result are recorded still. */
async function withoutBroughtIn(
  transaction: Transaction,
  start: number,
  { partition, to }: CountedStretch,
  lateFor: number,
  counts: ColumnarCounts,
): Promise<ColumnarCounts> {
  const there = await transaction
    .selectFrom('late_deltas')
    .select(['host', 'referrer', 'country', 'num_hits'])
    .where('window_start', '=', new Date(lateFor))
    .where('read_in', '=', new Date(start))
    .where('cause', '=', 'watermark')
    .where('kafka_partition', '=', partition)
    .where('range_from', '<', to)
    .where('brought_in', 'is not', null)
    .execute()
  if (there.length === 0) return counts
  const key = ({ host, referrer, country }: { host: string; referrer: string; country: string }) =>
    JSON.stringify([host, referrer, country])
  const brought = new Map<string, number>()
  for (const row of there) brought.set(key(row), (brought.get(key(row)) ?? 0) + row.num_hits)
  const left = [...groups(counts)].map(group => {
    const taken = Math.min(group.hits, brought.get(key(group)) ?? 0)
    brought.set(key(group), (brought.get(key(group)) ?? 0) - taken)
    return { ...group, hits: group.hits - taken }
  })
  // Of groups that are called otherwise now, as where a country database was replaced: any will do.
  let others = [...brought.values()].reduce((sum, hits) => sum + hits, 0)
  const rest = new GroupCounter()
  for (const { host, referrer, country, hits } of left) {
    const taken = Math.min(hits, others)
    others -= taken
    if (hits > taken) rest.add(host, referrer, country, hits - taken)
  }
  return rest.columns()
}

/** Events that came after the window had closed, and are counted as its hits now. */
async function deleteLateHits(
  transaction: Transaction,
  start: number,
  stretches: CountedStretch[],
): Promise<void> {
  for (const { partition, hitsTo } of stretches)
    await transaction
      .deleteFrom('late_deltas')
      .where('window_start', '=', new Date(start))
      .where('cause', '=', 'closed')
      .where('kafka_partition', '=', partition)
      .where('range_from', '<', hitsTo)
      .execute()
}

async function repairCounts(
  transaction: Transaction,
  { start, end, counter }: RecountedWindow,
  known: Known,
): Promise<{ changed: boolean; revision: number; hits: number; hitsBefore: number }> {
  const brought = await transaction
    .selectFrom('late_deltas')
    .select(['host', 'referrer', 'country', 'num_hits'])
    .where('window_start', '=', new Date(start))
    .where('brought_in', 'is not', null)
    .execute()
  for (const { host, referrer, country, num_hits } of brought) counter.add(host, referrer, country, num_hits)
  const { hits } = counter
  const result = { hits, hitsBefore: known.hits }
  const isEmpty = known.isNew && hits === 0
  const isRight =
    known.status === 'closed' &&
    known.hits === hits &&
    (await compareWindow(transaction, start, counter)).length === 0
  if (isEmpty || isRight) return { changed: false, revision: known.revision, ...result }
  const revision = known.revision + 1
  await deleteCounts(transaction, start)
  await insertCounts(transaction, { start, end }, counter.columns())
  await transaction
    .updateTable('window_results')
    .set({
      status: 'closed',
      num_hits: hits,
      groups: counter.groups,
      revision,
      closed_at: sql`clock_timestamp()`,
      unlocated: 0,
    })
    .where('window_start', '=', new Date(start))
    .execute()
  return { changed: true, revision, ...result }
}

/** Says what is known as applied: never less than before. */
async function updatePartitions(
  transaction: Transaction,
  { start, acceptLoss }: RecountedWindow,
  known: Known,
  stretches: CountedStretch[],
): Promise<AppliedPartition[]> {
  const applied = new Map(known.partitions.map(partition => [partition.partition, partition]))
  for (const { partition, from, basis, to, last: lastFound, lastHit } of stretches) {
    const before = applied.get(partition)
    const last = Math.max(acceptLoss ? to - 1 : lastFound, before?.last ?? -1)
    const isKnown = before?.from === from && before.last === last && lastHit <= lastCounted(before)
    if (isKnown || last < from) continue
    applied.set(partition, { partition, from, basis, last, ...(lastHit < last && { counted: lastHit }) })
  }
  const partitions = [...applied.values()].sort((a, b) => a.partition - b.partition)
  await transaction
    .updateTable('window_results')
    .set({ status: 'closed', partitions: JSON.stringify(partitions) })
    .where('window_start', '=', new Date(start))
    .execute()
  return partitions
}
