import { sql, type RawBuilder } from 'kysely'
import type { Transaction } from './database'

/** Rows that are fetched together: at most a few megabytes, which the driver parses without a break. */
const BATCH = 1_000

/** Yields the rows of a query in batches, with only one in memory. Uses a cursor: one query at a time. */
export async function* inBatches<Row>(
  transaction: Transaction,
  query: RawBuilder<Row>,
): AsyncGenerator<Row[]> {
  await sql`declare batches no scroll cursor for ${query}`.execute(transaction)
  for (let isLast = false; !isLast;) {
    const { rows } = await sql<Row>`fetch ${sql.lit(BATCH)} from batches`.execute(transaction)
    yield rows
    isLast = rows.length < BATCH
  }
  await sql`close batches`.execute(transaction)
}
