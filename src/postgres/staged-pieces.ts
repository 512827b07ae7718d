import type { ColumnarCounts } from '../core/counts/columnar'
import type { StagedPieces } from '../core/window/protocol'
import type { Db, Transaction } from './database'

/** Pieces of one window's counts, numbered from 1, by one chain of its runs. */
export interface PieceKey {
  /** Epoch milliseconds. */
  start: number
  chain: string
}

/** Keeps a piece until the window is closed; once, however often it is repeated. */
export async function stagePiece(
  db: Db,
  { start, chain }: PieceKey,
  number: number,
  counts: ColumnarCounts[],
): Promise<void> {
  await db
    .insertInto('staged_pieces')
    .values({ window_start: new Date(start), chain, number, counts: JSON.stringify(counts) })
    .onConflict(conflict => conflict.doNothing())
    .execute()
}

/** Pieces that were sent and have not arrived: to be tried again soon. */
export class PiecesMissingError extends Error {
  override readonly name = 'PiecesMissingError'
}

/** The pieces one after another, in their order; only one of them is in memory. Rejects where one is not there yet. */
export async function* stagedPieces(
  db: Transaction,
  start: number,
  { chain, count } = { chain: '', count: 0 },
): AsyncGenerator<ColumnarCounts[]> {
  for (let number = 1; number <= count; number++) {
    const row = await db
      .selectFrom('staged_pieces')
      .select('counts')
      .where('window_start', '=', new Date(start))
      .where('chain', '=', chain)
      .where('number', '=', number)
      .executeTakeFirst()
    if (!row) throw new PiecesMissingError(`Piece ${number} of the window's ${count} is not in Postgres yet.`)
    yield row.counts
  }
}

/** What pieces held is recorded. Their rows stay, so that a repeat finds nothing to do, and does not wait for them. */
export async function emptyPieces(
  transaction: Transaction,
  start: number,
  { chain, count }: StagedPieces,
): Promise<void> {
  await transaction
    .updateTable('staged_pieces')
    .set({ counts: '[]' })
    .where('window_start', '=', new Date(start))
    .where('chain', '=', chain)
    .where('number', '<=', count)
    .execute()
}

/** A window that is closed needs its pieces no more. */
export async function dropPieces(transaction: Transaction, start: number): Promise<void> {
  await transaction.deleteFrom('staged_pieces').where('window_start', '=', new Date(start)).execute()
}
