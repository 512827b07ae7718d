import { condition } from '@temporalio/workflow'
import type { KnownWindow } from '../contract/activities'
import { repairCommand } from '../contract/ids'
import { isBalanced, type Balance } from '../core/window/protocol'
import { sink } from './sink'
import type { WindowBooks } from './window-books'
import type { WindowRun } from './window-run'

/**
 * The revision of a window that Postgres already has. A result that is published but not closed belongs to a run that
 * was ended by hand, so it waits for a repair.
 */
export async function closedRevision(
  run: WindowRun,
  books: WindowBooks,
  { revision, status }: KnownWindow,
): Promise<number> {
  if (status !== 'published') return revision
  await condition(() => books.told === 'close')
  const reason = 'An earlier run published a first result, and ended before it closed the window.'
  // What this run was sent again is not in Postgres, even if it is all that was announced.
  const balance = { told: books.balance.told, accounted: { hits: 0, exceptions: 0 } }
  return untilRepaired(run, books, balance, reason)
}

/**
 * Waits for a repair if an earlier run was ended by hand and took counts with it. Returns the revision that closed the
 * window, or undefined if this run has all the counts.
 */
export async function untilComplete(run: WindowRun, books: WindowBooks): Promise<number | undefined> {
  if (!books.isIncomplete) return undefined
  // Exceptions alone make no result: an earlier run may have recorded them.
  const onlyExceptions = run.revision === 0 && books.balance.told.hits === 0
  const reason = books.describeMissing()
  if (onlyExceptions && (await isBalancedInPostgres(run, books))) return 0
  return untilRepaired(run, books, books.balance, reason)
}

async function isBalancedInPostgres({ key, name, visibility }: WindowRun, { books }: WindowBooks) {
  const options = { summary: `do the books of ${name} balance?` }
  const ask = () => sink.recordClosed.executeWithOptions(options, [{ ...key, deltas: [], books }])
  const { balance } = await visibility.watched('ask Postgres for its balance', ask)
  return balance !== undefined && isBalanced(balance)
}

async function untilRepaired(
  run: WindowRun,
  books: WindowBooks,
  balance: Balance,
  reason: string,
): Promise<number> {
  const { key, name, visibility } = run
  await books.settle(books.books, balance)
  const options = { summary: `has ${name} been repaired?` }
  const ask = async () => {
    const known = await sink.openWindow.executeWithOptions(options, [key])
    return known?.status === 'published' ? null : known
  }
  return (await visibility.untilRepaired(`${reason} ${repairCommand(key.start)}`, ask)).revision
}
