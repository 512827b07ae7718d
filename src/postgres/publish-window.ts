import { sql } from 'kysely'
import { GroupCounter, OTHER } from '../core/counts/columnar'
import type { Published, WindowTotals } from '../core/window/protocol'
import { firstGroups } from '../core/counts/group-limit'
import type { Db, Transaction } from './database'
import { settleBooks } from './books'
import { createPartitions } from './partitions'
import { stagedCounts, dropStagedDeltas } from './staged-deltas'
import { dropPieces, stagedPieces } from './staged-pieces'
import { replaceCounts } from './window-counts'
import { createWindowRow, findWindowRow, lockWindowRow, NOW, updateWindowRow } from './window-row'

export interface WindowResult extends WindowTotals {
  /** Epoch milliseconds. */
  end: number
  /** How many groups keep their name. */
  maxGroups: number
}

/**
 * Publishes a window's absolute totals in one transaction, so that readers see the whole result or nothing.
 *
 * The revision is compared under the window's row lock: an attempt that wakes up after a newer revision was committed
 * changes nothing. A revision that was already published can still be closed.
 *
 * @throws PiecesMissingError if a piece has not arrived yet
 * @throws StagedDeltasMissingError if Postgres has lost a staged delta
 */
export async function publishWindow(db: Db, result: WindowResult): Promise<Published> {
  return db.transaction().execute(async transaction => ({
    ...(await publish(transaction, result)),
    ...(await settleBooks(transaction, result.start, result.books)),
  }))
}

async function publish(transaction: Transaction, result: WindowResult): Promise<Published> {
  const { start, revision, status } = result
  // A window with only late and rejected records gets no row.
  if (result.hits === 0 && !(await findWindowRow(transaction, start)))
    return { written: false, groups: 0, otherHits: 0 }
  await createPartitions(transaction, start)
  await createWindowRow(transaction, result)
  const known = (await lockWindowRow(transaction, start))!
  // A closed window was repaired or closed by a later run, so this attempt is an old one.
  const written = known.status !== 'closed' && known.revision < revision
  const counter = written ? await writeCounts(transaction, result) : undefined
  const isCurrent = written || (known.revision === revision && known.status === 'published')
  if (isCurrent && status === 'closed') await closeRevision(transaction, result)
  const groups = counter ? counter.groups : known.groups
  return { written, groups, otherHits: counter?.folded === false ? 0 : await otherHits(transaction, start) }
}

/** Returns what was written. */
async function writeCounts(transaction: Transaction, result: WindowResult): Promise<GroupCounter> {
  const counter = await combinedCounts(transaction, result)
  await replaceCounts(transaction, result, counter)
  await updateWindowRow(transaction, result.start, {
    status: 'published',
    num_hits: result.hits,
    groups: counter.groups,
    revision: result.revision,
    closed_at: NOW,
    partitions: JSON.stringify(result.applied),
    unlocated: result.unlocated ?? 0,
  })
  return counter
}

/** The counts of the message, of all pieces and of all staged deltas; only as many groups as are named are in memory. */
async function combinedCounts(transaction: Transaction, result: WindowResult): Promise<GroupCounter> {
  const { start, pieces, staged, counts, hits, maxGroups } = result
  const counter = new GroupCounter(firstGroups(maxGroups))
  for await (const piece of stagedPieces(transaction, start, pieces))
    for (const columns of piece) counter.addAll(columns)
  for await (const columns of stagedCounts(transaction, start, staged)) counter.addAll(columns)
  counter.addAll(counts)
  if (counter.hits !== hits)
    throw new Error(`The parts of the window have ${counter.hits} hits, not ${hits}.`)
  return counter
}

async function closeRevision(transaction: Transaction, { start, applied }: WindowResult): Promise<void> {
  await updateWindowRow(transaction, start, { status: 'closed', closed_at: NOW })
  await dropPieces(transaction, start)
  await dropStagedDeltas(transaction, start, applied)
}

/** Hits of groups that did not keep their name. */
async function otherHits(transaction: Transaction, start: number): Promise<number> {
  const { rows } = await sql<{ hits: number }>`
    select coalesce(sum(num_hits), 0)::bigint as hits from aggregated_web_traffic
    where window_start = ${new Date(start)} and referrer = ${OTHER}`.execute(transaction)
  return rows[0]!.hits
}
