import { WorkflowNotFoundError } from '@temporalio/common'
import type { BatchInput, ReplayedBatch, SelectionInput, VerifiedBatch } from '../contract/activities'
import { ingestId } from '../contract/ids'
import { ingestStatus } from '../contract/messages'
import { unsettledWindows, type UnsettledWindow } from '../contract/unsettled'
import { isBalanced, type Balance } from '../core/window/protocol'
import type { WindowSelection } from '../core/window/recount'
import { formatInstant } from '../core/window/tumbling-window'
import { toldBesides } from '../postgres/books'
import { closedWindows, selectClosedWindows } from '../postgres/closed-windows'
import type { Db } from '../postgres/database'
import { replayWindow } from '../postgres/replay-window'
import { verifyWindow } from '../postgres/verify-window'
import { recountWindows, type RecountDependencies } from './recount'
import { askLedger } from './repair'

const MAX_LISTED_DIFFERENCES = 20
/** Counted in one pass, and in memory together; a single window may be larger. */
const MAX_BATCH = { groups: 100_000, windows: 288 }

export async function nextBatch(db: Db, selection: WindowSelection): Promise<number[]> {
  const windows = await selectClosedWindows(db, selection, MAX_BATCH.windows)
  let groups = 0
  const batch = windows.filter((window, i) => (groups += window.groups) <= MAX_BATCH.groups || i === 0)
  return batch.map(({ start }) => start)
}

/** Counts the closed windows of a batch again, and publishes those that differ. */
export async function replayWindows(
  { includeLate = false, acceptLoss = false, ...input }: BatchInput,
  dependencies: RecountDependencies,
): Promise<ReplayedBatch> {
  const { recount, gone, counted } = await recountBatch(input, dependencies)
  const lost: NonNullable<ReplayedBatch['lost']> = []
  const batch: ReplayedBatch = { unchanged: 0, replayed: [], gone: gone.map(({ start }) => start), lost }
  for (const { start } of counted) {
    const counter = recount.counterOf(start)
    const result = await replayWindow(dependencies.db, { start, includeLate, acceptLoss, counter })
    if (result.outcome === 'unchanged') batch.unchanged++
    if (result.outcome === 'lost') lost.push({ start, expected: result.expected, counted: result.counted })
    if (result.outcome !== 'replayed') continue
    const { revision, hits, hitsBefore, broughtIn } = result
    batch.replayed.push({ start, revision, hits, hitsBefore, broughtIn })
  }
  return batch
}

/** Counts the closed windows of a batch again, and lists where Postgres differs. */
export async function verifyWindows(
  input: BatchInput,
  dependencies: RecountDependencies,
): Promise<VerifiedBatch> {
  const { recount, gone, counted: windows } = await recountBatch(input, dependencies)
  const batch: Required<VerifiedBatch> = {
    right: 0,
    wrong: [],
    gone: gone.map(({ start }) => start),
    lost: [],
    withoutBooks: 0,
    accepted: { hits: 0, exceptions: 0 },
  }
  for (const { start } of windows) {
    const found = await verifyWindow(dependencies.db, start, recount.counterOf(start))
    if (!found) continue
    const { differences, stored, counted, missing, balance, accepted } = found
    batch.accepted.hits += accepted.hits
    batch.accepted.exceptions += accepted.exceptions
    if (!balance) batch.withoutBooks++
    const isUnbalanced =
      balance && !isBalanced(balance) && !(await isSettling(dependencies, input, start, balance))
    if (missing > 0) batch.lost.push({ start, expected: counted + missing, counted })
    else if (differences.length === 0 && stored === counted && !isUnbalanced) batch.right++
    else
      batch.wrong.push({
        start,
        stored,
        counted,
        differences: differences.slice(0, MAX_LISTED_DIFFERENCES),
        more: Math.max(0, differences.length - MAX_LISTED_DIFFERENCES),
        ...(isUnbalanced && { balance }),
      })
  }
  return batch
}

/** Whether a window's books differ only by what was announced for it and is not settled yet. */
async function isSettling(
  { db, client }: RecountDependencies,
  { settings: { group } }: BatchInput,
  start: number,
  { accounted }: Balance,
): Promise<boolean> {
  const source = await askLedger(client, group, start)
  if (!source) return false
  if (source.open) return true
  const ledgerBooks = source.books.map(({ book }) => book)
  const others = await toldBesides(db, start, ledgerBooks)
  const { hits, exceptions } = source.told ?? { hits: 0, exceptions: 0 }
  const told = { hits: others.hits + hits, exceptions: others.exceptions + exceptions }
  return isBalanced({ told, accounted })
}

/**
 * The selected windows that received the close signal and have not settled; none if the ledger is gone.
 *
 * @param now epoch ms
 */
export async function findUnsettled(
  { settings: { group, windowSize }, from = -Infinity, to = Infinity }: SelectionInput,
  now: number,
  { client }: Pick<RecountDependencies, 'client'>,
): Promise<UnsettledWindow[]> {
  const status = await client.workflow
    .getHandle(ingestId(group))
    .query(ingestStatus)
    .catch((error: unknown) => {
      if (error instanceof WorkflowNotFoundError) return undefined
      throw error
    })
  return unsettledWindows(status?.ledger.books?.closing ?? [], now).filter(
    ({ start }) => start >= from && start + windowSize <= to,
  )
}

async function recountBatch({ settings, starts }: BatchInput, dependencies: RecountDependencies) {
  const windows = await closedWindows(dependencies.db, starts)
  return recountWindows(windows, settings, dependencies, (read, total) =>
    dependencies.report({ windows: starts.map(formatInstant), records: `${read} of ${total}` }),
  )
}
