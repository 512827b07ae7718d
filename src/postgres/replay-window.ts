import { sql } from 'kysely'
import type { GroupCounter } from '../core/counts/columnar'
import { balanceOf, correctBooks } from './books'
import { isRight } from './compare-window'
import type { Db, Transaction } from './database'
import { addLate, markBroughtIn } from './late-deltas'
import { createPartitions } from './partitions'
import { replaceRecounted } from './window-counts'
import { lockWindowRow, updateWindowRow } from './window-row'

export type Replayed =
  | { outcome: 'unchanged'; revision: number }
  | { outcome: 'replayed'; revision: number; hits: number; hitsBefore: number; broughtIn: number }
  /** Kafka has fewer hits than were counted. Nothing was changed. */
  | { outcome: 'lost'; expected: number; counted: number }
  /** The window does not exist, or its workflow may still correct it. */
  | { outcome: 'not closed' }

/**
 * Publishes a closed window that was counted again as its next revision, in one transaction under the window's row lock.
 * If the result is already right nothing is written, so a repeat changes nothing. Late events that an earlier replay
 * brought in stay in the result; `includeLate` brings in the others as they were recorded. A window that would lose hits
 * is left as it is, unless `acceptLoss`.
 *
 * @param counter the hits that were counted from the log; late events are added to it
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
    const row = await lockWindowRow(transaction, start)
    if (row?.status !== 'closed') return { outcome: 'not closed' }
    const { revision, num_hits: hitsBefore } = row
    const counted = counter.hits
    const broughtIn = await addLate(transaction, start, counter, includeLate)
    if (broughtIn === 0 && (await isRight(transaction, row, counter))) {
      // The lookup that failed the first time also found no country this time.
      if (row.unlocated > 0) await updateWindowRow(transaction, start, { unlocated: 0 })
      return { outcome: 'unchanged', revision }
    }
    const expected = await expectedHits(transaction, start, hitsBefore)
    if (counted < expected && !acceptLoss) return { outcome: 'lost', expected, counted }
    await replaceRecounted(transaction, { start, end: row.window_end.getTime() }, counter, revision + 1)
    if (broughtIn > 0) await markBroughtIn(transaction, start, revision + 1)
    if (acceptLoss) await acceptLostHits(transaction, start)
    return { outcome: 'replayed', revision: revision + 1, hits: counter.hits, hitsBefore, broughtIn }
  })
}

/** Hits that the log should have: those announced, or stored if there are no books, without the late ones. */
export async function expectedHits(transaction: Transaction, start: number, stored: number): Promise<number> {
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
