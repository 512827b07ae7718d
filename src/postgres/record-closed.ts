import { groups } from '../core/counts/columnar'
import type { AppliedPartition, ClosedDeltas, ClosedOutcome, Delta } from '../core/window/protocol'
import { lastCounted } from '../core/window/recount'
import { classifyDelta } from '../core/window/window-state'
import { settleBooks } from './books'
import type { Db, Transaction } from './database'
import { insertLate } from './late-deltas'
import { recordRange } from './record-exceptions'
import { countsOf, dropStagedDeltas } from './staged-deltas'
import { emptyPieces, stagedPieces } from './staged-pieces'
import { createWindowRow, lockWindowRow, updateWindowRow } from './window-row'

type Closed = ClosedDeltas & { topic: string; windowSize: number }
type AppliedByPartition = Map<number, AppliedPartition>

/**
 * Records deltas that reached a window after it closed, as late with cause `closed`. The last applied offset advances in
 * the same transaction, under the window's row lock, so that a repeat is recognised.
 *
 * @throws PiecesMissingError if a piece has not arrived yet
 * @throws StagedDeltasMissingError if Postgres has lost a staged delta
 */
export async function recordClosed(db: Db, closed: Closed): Promise<ClosedOutcome> {
  const { start, pieces, books } = closed
  return db.transaction().execute(async transaction => {
    const applied = await lockApplied(transaction, closed)
    const outcome: ClosedOutcome = { lateHits: 0, repeats: 0, overlaps: [] }
    for await (const piece of stagedPieces(transaction, start, pieces))
      for (const delta of piece) await recordDelta(transaction, closed, delta as Delta, applied, outcome)
    for (const delta of closed.deltas) await recordDelta(transaction, closed, delta, applied, outcome)
    const partitions = [...applied.values()]
    await updateWindowRow(transaction, start, { status: 'closed', partitions: JSON.stringify(partitions) })
    if (pieces) await emptyPieces(transaction, start, pieces)
    await dropStagedDeltas(transaction, start, partitions)
    return { ...outcome, ...(await settleBooks(transaction, start, books)) }
  })
}

/** Locks the window's row. A window that closed without hits has no row: it gets one with its first late hits. */
async function lockApplied(
  transaction: Transaction,
  { start, windowSize, deltas, pieces }: Closed,
): Promise<AppliedByPartition> {
  if (deltas.some(({ hits }) => hits > 0) || (pieces?.count ?? 0) > 0)
    await createWindowRow(transaction, { start, end: start + windowSize })
  const row = await lockWindowRow(transaction, start)
  return new Map(row?.partitions.map(applied => [applied.partition, applied]))
}

/** Records one delta, and adds what became of it to `applied` and `outcome`. */
async function recordDelta(
  transaction: Transaction,
  { start, topic, windowSize }: Closed,
  delta: Delta,
  applied: AppliedByPartition,
  outcome: ClosedOutcome,
): Promise<void> {
  const { partition, from, first, last, exceptions } = delta
  const verdict = classifyDelta(delta, applied.get(partition)?.last)
  if (verdict === 'repeat') outcome.repeats++
  if (verdict === 'overlap') outcome.overlaps.push({ partition, first, last })
  if (verdict !== 'applied') return
  if (exceptions && !exceptions.recorded)
    await recordRange(transaction, topic, windowSize, {
      ...{ partition, from, to: last + 1, window: start },
      ...exceptions,
    })
  outcome.lateHits += delta.hits
  applied.set(partition, advanced(delta, applied.get(partition)))
  const counts = groups(delta.staged ? await countsOf(transaction, start, partition, last) : delta)
  await insertLate(transaction, { partition, from, windowStart: start, windowSize, counts, cause: 'closed' })
}

/** The delta is applied but not counted, so that a replay does not take it for a hit. */
function advanced({ partition, from, basis, last }: Delta, known?: AppliedPartition): AppliedPartition {
  if (!known) return { partition, from, basis, last, counted: from - 1 }
  return { ...known, last, counted: lastCounted(known) }
}
