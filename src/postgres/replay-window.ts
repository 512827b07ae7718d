import { sql, type UpdateObject } from 'kysely'
import type { GroupCounter } from '../core/counts/columnar'
import type { Balance, Sums } from '../core/window/protocol'
import { acceptedLoss, balanceOf, correctBooks } from './books'
import { compareWindow } from './compare-window'
import type { Db, Transaction } from './database'
import { createPartitions } from './partitions'
import { deleteCounts, insertCounts } from './publish-window'
import type { Database } from './schema'
import type { Difference } from '../contract/activities'

export type Replayed =
  /** The result was as counted. */
  | { outcome: 'unchanged'; revision: number }
  | { outcome: 'replayed'; revision: number; hits: number; hitsBefore: number; broughtIn: number }
  /** Kafka has fewer hits than were counted: nothing was changed. */
  | { outcome: 'lost'; expected: number; counted: number }
  /** Not there, or corrections may still come: its workflow writes it. */
  | { outcome: 'not closed' }

/**
 * Publishes a closed window that was counted anew, as its next revision, in one transaction under the window's row lock.
 * Where the result is right already nothing is written, so that a repeat, and an attempt that wakes late, change
 * nothing. Late events that an earlier replay brought in stay in; with `includeLate` those that came since are brought
 * in as they were recorded, and marked with the revision. Whatever was not located the first time is now. A window that
 * would lose hits is left as it is, unless `acceptLoss`.
 *
 * @param counter the hits that were counted from the log; late ones are added to it
 */
export async function replayWindow(
  db: Db,
  {
    start,
    counter,
    includeLate,
    acceptLoss = false,
  }: { start: number; counter: GroupCounter; includeLate: boolean; acceptLoss?: boolean },
): Promise<Replayed> {
  return db.transaction().execute(async transaction => {
    await createPartitions(transaction, start)
    const known = await transaction
      .selectFrom('window_results')
      .select(['window_end', 'status', 'num_hits', 'revision', 'unlocated'])
      .where('window_start', '=', new Date(start))
      .forUpdate()
      .executeTakeFirst()
    if (known?.status !== 'closed') return { outcome: 'not closed' }
    const fromLog = counter.hits
    const broughtIn = await addLate(transaction, start, counter, includeLate)
    const { hits } = counter
    if (broughtIn === 0 && known.num_hits === hits && (await isRight(transaction, start, counter))) {
      // Looked up, it is under ?? all the same.
      if (known.unlocated > 0) await updateResult(transaction, start, { unlocated: 0 })
      return { outcome: 'unchanged', revision: known.revision }
    }
    const expected = await expectedHits(transaction, start, known.num_hits)
    if (fromLog < expected && !acceptLoss) return { outcome: 'lost', expected, counted: fromLog }
    const revision = known.revision + 1
    await deleteCounts(transaction, start)
    await insertCounts(transaction, { start, end: known.window_end.getTime() }, counter.columns())
    const closed_at = sql<Date>`clock_timestamp()`
    const result = { num_hits: hits, groups: counter.groups, revision, closed_at, unlocated: 0 }
    await updateResult(transaction, start, result)
    if (broughtIn > 0)
      await transaction
        .updateTable('late_deltas')
        .set({ brought_in: revision })
        .where('window_start', '=', new Date(start))
        .where('brought_in', 'is', null)
        .execute()
    if (acceptLoss) await acceptLostHits(transaction, start)
    return { outcome: 'replayed', revision, hits, hitsBefore: known.num_hits, broughtIn }
  })
}

/** Hits that the log should have: what was told, or the result where there are no books, without what was late. */
async function expectedHits(transaction: Transaction, start: number, stored: number): Promise<number> {
  const balance = await balanceOf(transaction, start)
  const { rows } = await sql<{ closed: number; brought: number }>`
    select coalesce(sum(num_hits) filter (where cause = 'closed'), 0)::bigint as closed,
      coalesce(sum(num_hits) filter (where brought_in is not null), 0)::bigint as brought
    from late_deltas where window_start = ${new Date(start)}`.execute(transaction)
  const { closed, brought } = rows[0]!
  return balance ? balance.told.hits - closed : stored - brought
}

async function acceptLostHits(transaction: Transaction, start: number): Promise<void> {
  const balance = await balanceOf(transaction, start)
  if (!balance || balance.accounted.hits === balance.told.hits) return
  const { told, accounted } = balance
  const { exceptions } = told
  await correctBooks(transaction, start, { told, accounted: { hits: accounted.hits, exceptions } })
}

async function updateResult(
  transaction: Transaction,
  start: number,
  values: UpdateObject<Database, 'window_results'>,
): Promise<void> {
  await transaction
    .updateTable('window_results')
    .set(values)
    .where('window_start', '=', new Date(start))
    .execute()
}

export interface VerifiedWindow {
  differences: Difference[]
  stored: number
  counted: number
  /** Hits that the log should have and does not have any more; 0 where it has all. */
  missing: number
  /** Absent where the window has no books. */
  balance?: Balance
  /** What was given up of it for good. */
  accepted: Sums
}

/** What a closed window's rows should be otherwise; undefined where there is no such window. */
export async function verifyWindow(
  db: Db,
  start: number,
  counter: GroupCounter,
): Promise<VerifiedWindow | undefined> {
  // In one snapshot: a replay must not be seen half.
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async transaction => {
      const known = await transaction
        .selectFrom('window_results')
        .select(['status', 'num_hits'])
        .where('window_start', '=', new Date(start))
        .executeTakeFirst()
      if (known?.status !== 'closed') return undefined
      const expected = await expectedHits(transaction, start, known.num_hits)
      const missing = Math.max(0, expected - counter.hits)
      await addLate(transaction, start, counter, false)
      const differences = await compareWindow(transaction, start, counter)
      const balance = await balanceOf(transaction, start)
      const accepted = await acceptedLoss(transaction, start)
      const found = { differences, stored: known.num_hits, counted: counter.hits, missing, accepted }
      return { ...found, ...(balance && { balance }) }
    })
}

async function isRight(transaction: Transaction, start: number, counter: GroupCounter): Promise<boolean> {
  return (await compareWindow(transaction, start, counter)).length === 0
}

/** Adds the late events that belong to the result; how many hits of them are not in it yet. */
async function addLate(
  transaction: Transaction,
  start: number,
  counter: GroupCounter,
  includeLate: boolean,
): Promise<number> {
  const late = await transaction
    .selectFrom('late_deltas')
    .select(['host', 'referrer', 'country', 'num_hits', 'brought_in'])
    .where('window_start', '=', new Date(start))
    .$if(!includeLate, query => query.where('brought_in', 'is not', null))
    .execute()
  let broughtIn = 0
  for (const { host, referrer, country, num_hits, brought_in } of late) {
    counter.add(host, referrer, country, num_hits)
    if (brought_in === null) broughtIn += num_hits
  }
  return broughtIn
}
