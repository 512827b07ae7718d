import { sql } from 'kysely'
import type { ColumnarCounts } from '../core/counts/columnar'
import type { StagedPieces } from '../core/window/protocol'
import type { Db, Transaction } from './database'

/** Identifies the pieces of one window's counts that one chain of its runs staged. They are numbered from 1. */
export interface PieceKey {
  /** Epoch milliseconds. */
  start: number
  chain: string
}

/** Keeps a piece until the window is closed. A repeat changes nothing. */
export async function stagePiece(
  db: Db,
  { start, chain }: PieceKey,
  number: number,
  counts: ColumnarCounts[],
): Promise<void> {
  await sql`
    insert into staged_pieces (window_start, chain, number, counts)
    values (${new Date(start)}, ${chain}, ${number}, ${JSON.stringify(counts)}) on conflict do nothing`.execute(
    db,
  )
}

/** A piece was sent and has not arrived: retry soon. */
export class PiecesMissingError extends Error {
  override readonly name = 'PiecesMissingError'
}

/**
 * Yields the pieces in order, with only one in memory.
 *
 * @throws PiecesMissingError if one has not arrived yet
 */
export async function* stagedPieces(
  db: Transaction,
  start: number,
  { chain, count } = { chain: '', count: 0 },
): AsyncGenerator<ColumnarCounts[]> {
  for (let number = 1; number <= count; number++) {
    const { rows } = await sql<{ counts: ColumnarCounts[] }>`
      select counts from staged_pieces
      where window_start = ${new Date(start)} and chain = ${chain} and number = ${number}`.execute(db)
    if (!rows[0])
      throw new PiecesMissingError(`Piece ${number} of ${count} of the window is not in Postgres yet.`)
    yield rows[0].counts
  }
}

/** Empties pieces that are recorded. Their rows stay, so that a repeat does not wait for them. */
export async function emptyPieces(
  transaction: Transaction,
  start: number,
  { chain, count }: StagedPieces,
): Promise<void> {
  await sql`
    update staged_pieces set counts = '[]'
    where window_start = ${new Date(start)} and chain = ${chain} and number <= ${count}`.execute(transaction)
}

export async function dropPieces(transaction: Transaction, start: number): Promise<void> {
  await sql`delete from staged_pieces where window_start = ${new Date(start)}`.execute(transaction)
}
