import { sql } from 'kysely'
import { groups, type ColumnarCounts, type GroupCounter } from '../core/counts/columnar'
import type { Transaction } from './database'
import { chunksOf } from './window-counts'

export interface LateCounts {
  partition: number
  /** Start of the range. */
  from: number
  windowStart: number
  windowSize: number
  counts: ColumnarCounts
  /** `watermark`: late at its position in the log; `closed`: arrived after the window had closed. */
  cause: 'watermark' | 'closed'
  /** Start of the partition's current window, epoch milliseconds. */
  readIn?: number
}

export async function insertLate(transaction: Transaction, late: LateCounts): Promise<void> {
  const readIn = late.readIn === undefined ? null : new Date(late.readIn)
  for (const { hosts, referrers, countries, hits } of chunksOf(groups(late.counts)))
    await sql`
      insert into late_deltas (kafka_partition, range_from, window_start, window_end, host, referrer, country,
        num_hits, cause, read_in)
      select ${late.partition}, ${late.from}, ${new Date(late.windowStart)},
        ${new Date(late.windowStart + late.windowSize)}, host, referrer, country, num_hits, ${late.cause},
        ${readIn}::timestamptz
      from unnest(${hosts}::text[], ${referrers}::text[], ${countries}::text[], ${hits}::bigint[])
        as chunk (host, referrer, country, num_hits)`.execute(transaction)
}

/**
 * Adds the late events that a replay has brought into the window's result; with `includeLate` all of its late events.
 *
 * @returns hits among them that are not in the result yet
 */
export async function addLate(
  transaction: Transaction,
  start: number,
  counter: GroupCounter,
  includeLate: boolean,
): Promise<number> {
  const late = await transaction
    .selectFrom('late_deltas')
    .select(['host', 'referrer', 'country', 'num_hits', 'brought_in'])
    .where('window_start', '=', new Date(start))
    .$if(!includeLate, query => query.where('brought_in', 'is not', null))
    .execute()
  let added = 0
  for (const { host, referrer, country, num_hits, brought_in } of late) {
    counter.add(host, referrer, country, num_hits)
    if (brought_in === null) added += num_hits
  }
  return added
}

/** Marks the window's late events as part of its result from `revision` on. */
export async function markBroughtIn(
  transaction: Transaction,
  start: number,
  revision: number,
): Promise<void> {
  await sql`
    update late_deltas set brought_in = ${revision}
    where window_start = ${new Date(start)} and brought_in is null`.execute(transaction)
}
