import { Context } from '@temporalio/activity'
import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import type { Config } from '../config'
import { isBalanced, type Balance } from '../core/window/protocol'
import { ingestId } from '../contract/ids'
import type { WindowSelection } from '../core/window/recount'
import { formatInstant } from '../core/window/tumbling-window'
import { unsettledWindows, type UnsettledWindow } from '../contract/unsettled'
import type { Lookup } from '../geo/lookup'
import { closedWindows, selectClosedWindows } from '../postgres/closed-windows'
import { toldBesides } from '../postgres/books'
import type { Db } from '../postgres/database'
import { replayWindow } from '../postgres/replay-window'
import { verifyWindow } from '../postgres/verify-window'
import { ingestStatus, type IngestStatus } from '../contract/messages'
import { recountWindows, type RecountOptions } from './recount'
import { askLedger } from './repair'
import type { BatchInput, ReplayedBatch, SelectionInput, VerifiedBatch } from '../contract/activities'

interface Dependencies {
  config: Pick<Config, 'kafka'>
  db: Db
  lookup: Lookup
  /** Of the heartbeat. */
  report: (progress: object) => void
}

/** Differences of a window that are named one by one. */
const NAMED_DIFFERENCES = 20

/** Groups, and windows, that are counted anew in one pass. */
const BATCH = { groups: 250_000, windows: 288 }

/** The first windows of a selection, oldest first. */
export async function nextBatch(db: Db, selection: WindowSelection): Promise<number[]> {
  const windows = await selectClosedWindows(db, selection, BATCH.windows)
  let groups = 0
  const fitting = windows.filter((window, i) => (groups += window.groups) <= BATCH.groups || i === 0)
  return fitting.map(({ start }) => start)
}

/** Counts the closed windows of a batch anew, and publishes those that differ. */
export async function replayWindows(
  { includeLate = false, acceptLoss = false, ...input }: BatchInput,
  outside: Dependencies,
): Promise<ReplayedBatch> {
  const { recount, gone, counted } = await recountBatch(input, outside)
  const lost: NonNullable<ReplayedBatch['lost']> = []
  const batch: ReplayedBatch = { unchanged: 0, replayed: [], gone: gone.map(({ start }) => start), lost }
  for (const { start } of counted) {
    const replayed = await replayWindow(outside.db, {
      ...{ start, includeLate, acceptLoss },
      counter: recount.counterOf(start),
    })
    if (replayed.outcome === 'unchanged') batch.unchanged++
    if (replayed.outcome === 'lost')
      lost.push({ start, expected: replayed.expected, counted: replayed.counted })
    if (replayed.outcome !== 'replayed') continue
    const { revision, hits, hitsBefore, broughtIn } = replayed
    batch.replayed.push({ start, revision, hits, hitsBefore, broughtIn })
  }
  return batch
}

/** Counts the closed windows of a batch anew, and says where Postgres has something else. */
export async function verifyWindows(input: BatchInput, outside: Dependencies): Promise<VerifiedBatch> {
  const { recount, gone, counted } = await recountBatch(input, outside)
  const { client } = Context.current()
  const none = { lost: [], withoutBooks: 0, accepted: { hits: 0, exceptions: 0 } }
  const batch = {
    right: 0,
    wrong: [],
    gone: gone.map(({ start }) => start),
    ...none,
  } as Required<VerifiedBatch>
  for (const { start } of counted) {
    const found = await verifyWindow(outside.db, start, recount.counterOf(start))
    if (!found) continue
    const { differences, stored, counted, missing, balance, accepted } = found
    batch.accepted.hits += accepted.hits
    batch.accepted.exceptions += accepted.exceptions
    if (!balance) batch.withoutBooks++
    const wrongBooks =
      balance && !isBalanced(balance) && !(await isUnderWay(outside.db, client, input, start, balance))
    if (missing > 0) batch.lost.push({ start, expected: counted + missing, counted })
    else if (differences.length === 0 && stored === counted && !wrongBooks) batch.right++
    else
      batch.wrong.push({
        start,
        stored,
        counted,
        differences: differences.slice(0, NAMED_DIFFERENCES),
        more: Math.max(0, differences.length - NAMED_DIFFERENCES),
        ...(wrongBooks && { balance }),
      })
  }
  return batch
}

/** Whether a window's books differ only by what was announced for it and is not settled yet. */
async function isUnderWay(
  db: Db,
  client: Client,
  { settings: { group } }: BatchInput,
  start: number,
  { accounted }: Balance,
): Promise<boolean> {
  const source = await askLedger(client, group, start)
  if (!source) return false
  if (source.open) return true
  const besides = await toldBesides(
    db,
    start,
    source.books.map(({ book }) => book),
  )
  const { hits, exceptions } = source.told ?? { hits: 0, exceptions: 0 }
  const told = { hits: besides.hits + hits, exceptions: besides.exceptions + exceptions }
  return isBalanced({ told, accounted })
}

/** What verifies the windows says that the ledger is gone, where it is. */
function unlessForgotten(error: unknown): { ledger: Partial<IngestStatus['ledger']> } {
  if (error instanceof WorkflowNotFoundError) return { ledger: {} }
  throw error
}

/** What the ledger says of windows in a selection that it told to close. */
export async function findUnsettled(
  { settings: { group, windowSize }, from = -Infinity, to = Infinity }: SelectionInput,
  client: Client,
): Promise<UnsettledWindow[]> {
  const { ledger } = await client.workflow
    .getHandle(ingestId(group))
    .query(ingestStatus)
    .catch(unlessForgotten)
  return unsettledWindows(ledger.books?.closing ?? [], Date.now()).filter(
    ({ start }) => start >= from && start + windowSize <= to,
  )
}

async function recountBatch({ settings, starts }: BatchInput, { config, db, lookup, report }: Dependencies) {
  const windows = await closedWindows(db, starts)
  const onProgress: RecountOptions['onProgress'] = (read, all) =>
    report({ windows: starts.map(formatInstant), records: `${read} of ${all}` })
  const { cancellationSignal: signal } = Context.current()
  return recountWindows(windows, { settings, kafka: config.kafka, lookup, signal, onProgress })
}
