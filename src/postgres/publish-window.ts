import { sql } from 'kysely'
import {
  GroupCounter,
  groups,
  groupsOf,
  hitsOf,
  OTHER,
  withoutCountries,
  type ColumnarCounts,
} from '../core/counts/columnar'
import type { Published, WindowTotals } from '../core/window/protocol'
import { firstGroups } from '../core/counts/group-limit'
import type { Db, Transaction } from './database'
import { balanceOf, enterBooks } from './books'
import { createPartitions } from './partitions'
import { stagedCounts, dropStagedDeltas } from './staged-deltas'
import { dropPieces, stagedPieces } from './staged-pieces'

export interface WindowResult extends WindowTotals {
  /** Epoch milliseconds. */
  end: number
  /** Groups that keep their name. */
  maxGroups: number
}

/**
 * Publishes a window's absolute totals in one transaction, so that readers see all of it or nothing.
 *
 * The revision is compared under the window's row lock: an old attempt that wakes late, after a newer one has
 * committed, finds its revision taken and changes nothing. A revision that is there already can still be closed.
 *
 * @throws PiecesMissingError where a piece has not arrived yet
 * @throws StagedDeltasMissingError where Postgres has lost a staged delta
 */
export async function publishWindow(db: Db, result: WindowResult): Promise<Published> {
  return db.transaction().execute(async transaction => {
    const published = await publish(transaction, result)
    if (!result.books) return published
    await enterBooks(transaction, result.start, result.books)
    const balance = await balanceOf(transaction, result.start)
    return { ...published, ...(balance && { balance }) }
  })
}

async function publish(transaction: Transaction, result: WindowResult): Promise<Published> {
  // A window that had nothing but late and rejected records to carry has no result.
  if (result.hits === 0 && !(await hasResult(transaction, result.start)))
    return { written: false, groups: 0, otherHits: 0 }
  await createPartitions(transaction, result.start)
  const known = await lockWindow(transaction, result)
  // A closed one was repaired, or closed by a later run: whoever comes after that is an attempt that wakes late.
  const written = known.status !== 'closed' && known.revision < result.revision
  if (written && known.revision > 0) await deleteCounts(transaction, result.start)
  if (written) await writeCounts(transaction, result)
  const current = written || (known.revision === result.revision && known.status === 'published')
  if (current && result.status === 'closed') await closeRevision(transaction, result)
  return { written, ...(await published(transaction, result)) }
}

async function hasResult(transaction: Transaction, start: number): Promise<boolean> {
  const known = await transaction
    .selectFrom('window_results')
    .select('revision')
    .where('window_start', '=', new Date(start))
    .executeTakeFirst()
  return known !== undefined
}

export async function deleteCounts(transaction: Transaction, start: number): Promise<void> {
  for (const table of ['aggregated_web_traffic', 'aggregated_web_traffic_by_country'] as const)
    await transaction.deleteFrom(table).where('window_start', '=', new Date(start)).execute()
}

async function writeCounts(transaction: Transaction, result: WindowResult): Promise<void> {
  const counts = await wholeCounts(transaction, result)
  await insertCounts(transaction, result, counts)
  await transaction
    .updateTable('window_results')
    .set({
      status: 'published',
      num_hits: result.hits,
      groups: groupsOf(counts),
      revision: result.revision,
      closed_at: sql`clock_timestamp()`,
      partitions: JSON.stringify(result.applied),
      unlocated: result.unlocated ?? 0,
    })
    .where('window_start', '=', new Date(result.start))
    .execute()
}

/** The counts of all pieces and of what was not sent ahead, with no more than `maxGroups` names. */
async function wholeCounts(transaction: Transaction, result: WindowResult): Promise<ColumnarCounts> {
  const { pieces, staged, counts, hits, maxGroups } = result
  // Merged already by the window's workflow.
  const isWhole = !pieces?.count && !staged
  if (isWhole && groupsOf(counts) <= maxGroups) return checked(counts, hitsOf(counts), hits)
  const counter = new GroupCounter(firstGroups(maxGroups))
  for await (const piece of stagedPieces(transaction, result.start, pieces))
    for (const columns of piece) counter.addAll(columns)
  for await (const columns of stagedCounts(transaction, result.start, staged)) counter.addAll(columns)
  counter.addAll(counts)
  return checked(counter.columns(), counter.hits, hits)
}

function checked(counts: ColumnarCounts, held: number, hits: number): ColumnarCounts {
  if (held !== hits) throw new Error(`The window's parts hold ${held} hits instead of ${hits}.`)
  return counts
}

async function closeRevision(transaction: Transaction, { start, applied }: WindowResult): Promise<void> {
  await transaction
    .updateTable('window_results')
    .set({ status: 'closed', closed_at: sql`clock_timestamp()` })
    .where('window_start', '=', new Date(start))
    .execute()
  await dropPieces(transaction, start)
  await dropStagedDeltas(transaction, start, applied)
}

async function published(
  transaction: Transaction,
  { start, maxGroups }: WindowResult,
): Promise<Omit<Published, 'written'>> {
  const { groups } = await transaction
    .selectFrom('window_results')
    .select('groups')
    .where('window_start', '=', new Date(start))
    .executeTakeFirstOrThrow()
  if (groups <= maxGroups) return { groups, otherHits: 0 }
  const other = await transaction
    .selectFrom('aggregated_web_traffic')
    .select(({ fn }) => fn.sum<number>('num_hits').as('hits'))
    .where('window_start', '=', new Date(start))
    .where('referrer', '=', OTHER)
    .executeTakeFirstOrThrow()
  return { groups, otherHits: Number(other.hits) }
}

/** Locks the window's row, made now where there is none; its revision is 0 before the first result. */
export async function lockWindow(
  transaction: Transaction,
  { start, end }: Pick<WindowResult, 'start' | 'end'>,
): Promise<{ revision: number; status: 'published' | 'closed' }> {
  await transaction
    .insertInto('window_results')
    .values({
      window_start: new Date(start),
      window_end: new Date(end),
      status: 'published',
      num_hits: 0,
      groups: 0,
      revision: 0,
      closed_at: sql`clock_timestamp()`,
      partitions: '[]',
    })
    .onConflict(conflict => conflict.doNothing())
    .execute()
  return transaction
    .selectFrom('window_results')
    .select(['revision', 'status'])
    .where('window_start', '=', new Date(start))
    .forUpdate()
    .executeTakeFirstOrThrow()
}

export async function insertCounts(
  transaction: Transaction,
  { start, end }: { start: number; end: number },
  counts: ColumnarCounts,
): Promise<void> {
  const [from, to] = [new Date(start), new Date(end)]
  const columns = toColumns(counts)
  await sql`
    insert into aggregated_web_traffic_by_country (window_start, window_end, host, referrer, country, num_hits)
    select ${from}, ${to}, host, referrer, country, num_hits
    from unnest(${columns.hosts}::text[], ${columns.referrers}::text[], ${columns.countries}::text[],
      ${columns.hits}::bigint[]) as delta (host, referrer, country, num_hits)`.execute(transaction)
  const anyCountry = toColumns(withoutCountries(counts))
  await sql`
    insert into aggregated_web_traffic (window_start, window_end, host, referrer, num_hits)
    select ${from}, ${to}, host, referrer, num_hits
    from unnest(${anyCountry.hosts}::text[], ${anyCountry.referrers}::text[], ${anyCountry.hits}::bigint[])
      as delta (host, referrer, num_hits)`.execute(transaction)
}

/** One array a column, for `unnest`: a statement of four parameters, however many rows. */
export function toColumns(counts: ColumnarCounts) {
  const columns = {
    hosts: [] as string[],
    referrers: [] as string[],
    countries: [] as string[],
    hits: [] as number[],
  }
  for (const { host, referrer, country, hits } of groups(counts)) {
    columns.hosts.push(host)
    columns.referrers.push(referrer)
    columns.countries.push(country)
    columns.hits.push(hits)
  }
  return columns
}
