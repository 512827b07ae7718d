import { sql } from 'kysely'
import type { RangeExceptions } from '../core/window/protocol'
import type { Transaction } from './database'

/** The newest rejected records that keep a row, for each partition and reason. The counts are exact. */
export const MAX_REJECTED_EVENTS = 10_000

/** Adds to the counts of a partition by reason. A repair adds differences, which may be negative. */
export async function addRejected(
  transaction: Transaction,
  topic: string,
  partition: number,
  counts: Record<string, number>,
): Promise<void> {
  // In a fixed order, so that two ranges of a partition recorded at the same time cannot deadlock.
  for (const [reason, records] of Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)))
    if (records !== 0)
      await sql`
        insert into rejected_counts (topic, partition, reason, records)
        values (${topic}, ${partition}, ${reason}, ${records})
        on conflict (topic, partition, reason)
          do update set records = rejected_counts.records + excluded.records`.execute(transaction)
}

/** Records the offsets of rejected records, and drops the oldest beyond {@link MAX_REJECTED_EVENTS}. */
export async function nameRejected(
  transaction: Transaction,
  topic: string,
  { partition, samples }: Pick<RangeExceptions, 'partition' | 'samples'>,
): Promise<void> {
  if (samples.length === 0) return
  const offsets = samples.map(([offset]) => offset)
  const reasons = samples.map(([, reason]) => reason)
  await sql`
    insert into rejected_events (topic, partition, kafka_offset, reason)
    select ${topic}, ${partition}::int, kafka_offset, reason
    from unnest(${offsets}::bigint[], ${reasons}::text[]) as sample (kafka_offset, reason)
    on conflict do nothing`.execute(transaction)
  // One statement per reason: in a statement for all of them Postgres may run the subquery for every row.
  for (const reason of new Set(reasons)) await dropOldest(transaction, topic, partition, reason)
}

async function dropOldest(
  transaction: Transaction,
  topic: string,
  partition: number,
  reason: string,
): Promise<void> {
  await sql`
    delete from rejected_events
    where topic = ${topic} and partition = ${partition}::int and reason = ${reason}
      and kafka_offset <= (
        select kafka_offset from rejected_events
        where topic = ${topic} and partition = ${partition}::int and reason = ${reason}
        order by kafka_offset desc offset ${MAX_REJECTED_EVENTS} limit 1)`.execute(transaction)
}
