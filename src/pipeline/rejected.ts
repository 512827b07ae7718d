import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { sql } from 'kysely'
import type { Config } from '../config'
import { UserError } from '../errors'
import { rangesThatAreGone, readRanges, type LogRange } from '../kafka/range-reader'
import { republishRecords, type Republishable } from '../kafka/republish'
import type { Db } from '../postgres/database'

export interface RejectedFilter {
  reason?: string
  limit: number
}

export interface RejectedRecord {
  partition: number
  offset: number
  reason: string
  /** ISO 8601. */
  rejectedAt: string
  /** Null if the record has no value; undefined if it was not read, or Kafka no longer has it. */
  payload?: string | null
}

export type RejectedCount = Awaited<ReturnType<typeof rejectedCounts>>[number]

export function rejectedCounts(db: Db, { reason }: RejectedFilter) {
  return db
    .selectFrom('rejected_counts')
    .select(['reason', 'partition', 'records'])
    .$if(reason !== undefined, query => query.where('reason', '=', reason!))
    .orderBy('reason')
    .orderBy('partition')
    .execute()
}

/** The newest rejected records, without their payloads. */
export async function rejectedRecords(
  db: Db,
  { reason, limit }: RejectedFilter,
  unpublishedOnly = false,
): Promise<RejectedRecord[]> {
  const rows = await db
    .selectFrom('rejected_events')
    .selectAll()
    .$if(reason !== undefined, query => query.where('reason', '=', reason!))
    .$if(unpublishedOnly, query => query.where('republished_at', 'is', null))
    .orderBy('rejected_at', 'desc')
    .orderBy('partition')
    .orderBy('kafka_offset', 'desc')
    .limit(limit)
    .execute()
  return rows.map(({ partition, kafka_offset, reason, rejected_at }) => ({
    partition,
    offset: kafka_offset,
    reason,
    rejectedAt: rejected_at.toISOString(),
  }))
}

/** The records with the payloads that Kafka still has. */
export async function withPayloads(
  { kafka, settings: { topic, group } }: Config,
  records: RejectedRecord[],
  signal: AbortSignal,
): Promise<RejectedRecord[]> {
  const ranges = records.map(({ partition, offset }): LogRange => ({
    partition,
    from: offset,
    to: offset + 1,
  }))
  const gone = await rangesThatAreGone(ranges, { kafka, topic })
  const payloads = new Map<string, string | null>()
  await readRanges(
    ranges.filter(range => !gone.has(range)),
    {
      kafka,
      topic,
      group: `${group}-rejected`,
      signal,
      onRecords: ({ partition, from }, read) => {
        const found = read.find(({ offset }) => offset === from)
        if (found) payloads.set(`${partition} ${from}`, found.value && Buffer.from(found.value).toString())
      },
    },
  )
  return records.map(record => {
    const payload = payloads.get(`${record.partition} ${record.offset}`)
    return payload === undefined ? record : { ...record, payload }
  })
}

/**
 * Sends rejected records to their partitions again, each once.
 *
 * @param command a shell command that reads a payload and prints the one to send instead
 * @throws UserError if the command fails for any record; nothing is sent then
 */
export async function republishRejected(
  db: Db,
  config: Config,
  filter: RejectedFilter,
  command: string | undefined,
  signal: AbortSignal,
): Promise<{ republished: number; withoutPayload: number }> {
  const records = await withPayloads(config, await rejectedRecords(db, filter, true), signal)
  const sendable = records.flatMap(({ partition, offset, payload }): Republishable[] =>
    typeof payload === 'string' ? [{ partition, offset, payload }] : [],
  )
  // All commands run before anything is sent, so that a failing one leaves nothing half done.
  const fixed =
    command === undefined
      ? sendable
      : await Promise.all(
          sendable.map(async record => ({ ...record, payload: await runFilter(command, record) })),
        )
  await republishRecords(config.kafka, config.settings.topic, fixed, sent =>
    markRepublished(db, config, sent),
  )
  return { republished: fixed.length, withoutPayload: records.length - fixed.length }
}

async function runFilter(command: string, { partition, offset, payload }: Republishable): Promise<string> {
  const run = spawn(command, { shell: true, stdio: ['pipe', 'pipe', 'inherit'] })
  // A command that does not read all of its input breaks the pipe.
  run.stdin.on('error', () => undefined).end(payload)
  const [[code], printed] = await Promise.all([
    once(run, 'close') as Promise<[number | null]>,
    text(run.stdout),
  ])
  const output = printed.replace(/\n$/, '')
  if (code === 0 && output !== '') return output
  const failure = code === 0 ? 'printed nothing' : `ended with ${code ?? 'a signal'}`
  throw new UserError(
    `The --through command ${failure} for offset ${offset} of partition ${partition}. Nothing was sent.`,
  )
}

/** Keeps later runs from sending the records again. */
async function markRepublished(
  db: Db,
  { settings: { topic } }: Config,
  sent: Republishable[],
): Promise<void> {
  for (const { partition, offset } of sent)
    await db
      .updateTable('rejected_events')
      .set({ republished_at: sql<Date>`clock_timestamp()` })
      .where('topic', '=', topic)
      .where('partition', '=', partition)
      .where('kafka_offset', '=', offset)
      .execute()
}
