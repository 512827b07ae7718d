import { sql } from 'kysely'
import type { GroupCount, GroupCounter } from '../core/counts/columnar'
import { inBatches } from './cursor'
import type { Transaction } from './database'
import { chunksOf } from './window-counts'

export interface LateCounts {
  partition: number
  /** Start of the range. */
  from: number
  windowStart: number
  windowSize: number
  counts: Iterable<GroupCount>
  /** `watermark`: late at its position in the log; `closed`: arrived after the window had closed. */
  cause: 'watermark' | 'closed'
  /** Start of the partition's current window, epoch milliseconds. */
  readIn?: number
}

export async function insertLate(transaction: Transaction, late: LateCounts): Promise<void> {
  const readIn = late.readIn === undefined ? null : new Date(late.readIn)
  for (const { hosts, referrers, countries, hits } of chunksOf(late.counts))
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
  const late = sql<GroupCount & { is_new: boolean }>`
    select host, referrer, country, num_hits as hits, brought_in is null as is_new from late_deltas
    where window_start = ${new Date(start)} and (${includeLate} or brought_in is not null)`
  let added = 0
  for await (const rows of inBatches(transaction, late))
    for (const { host, referrer, country, hits, is_new } of rows) {
      counter.add(host, referrer, country, hits)
      if (is_new) added += hits
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
