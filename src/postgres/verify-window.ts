import type { Difference } from '../contract/activities'
import type { GroupCounter } from '../core/counts/columnar'
import type { Balance, Sums } from '../core/window/protocol'
import { acceptedLoss, balanceOf } from './books'
import { compareWindow } from './compare-window'
import type { Db } from './database'
import { addLate } from './late-deltas'
import { expectedHits } from './replay-window'
import { findWindowRow } from './window-row'

export interface VerifiedWindow {
  differences: Difference[]
  stored: number
  counted: number
  /** Hits that the log should have but no longer has. */
  missing: number
  /** Absent if the window has no books. */
  balance?: Balance
  /** The loss that a person has accepted. */
  accepted: Sums
}

/** Compares a window's rows with a count of the log; undefined if the window is not closed. */
export async function verifyWindow(
  db: Db,
  start: number,
  counter: GroupCounter,
): Promise<VerifiedWindow | undefined> {
  // One snapshot, so that a concurrent replay is seen completely or not at all.
  const snapshot = db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only')
  return snapshot.execute(async transaction => {
    const row = await findWindowRow(transaction, start)
    if (row?.status !== 'closed') return undefined
    const stored = row.num_hits
    const missing = Math.max(0, (await expectedHits(transaction, start, stored)) - counter.hits)
    await addLate(transaction, start, counter, false)
    const balance = await balanceOf(transaction, start)
    return {
      differences: await compareWindow(transaction, start, counter),
      ...{ stored, counted: counter.hits, missing },
      accepted: await acceptedLoss(transaction, start),
      ...(balance && { balance }),
    }
  })
}
