import { Command } from 'commander'
import { loadConfig, type Config } from '../config'
import { rangesThatAreGone, readRanges, type LogRange } from '../kafka/range-reader'
import type { Db } from '../postgres/database'
import { withDatabase } from './database'
import { interruption } from './interruption'
import { wholeNumber } from './start'
import { printable, table } from './table'

interface Flags {
  reason?: string
  limit: number
  show?: true
  json?: true
}

/** Longer payloads are cut on the terminal; `--json` has them whole. */
const SHOWN = 200

export function rejectedCommand(): Command {
  return new Command('rejected')
    .description('records that are no usable event: how many by reason, and where the newest of them are')
    .option('--reason <reason>', 'only those rejected for this, such as invalid_json')
    .option('--limit <n>', 'how many records', wholeNumber, 20)
    .option('--show', 'read each of them from Kafka and print it; it may hold an address')
    .option('--json', 'print as JSON')
    .action(async (flags: Flags) => {
      const config = loadConfig()
      const { counts, records } = await withDatabase(config, async db => ({
        counts: await rejectedCounts(db, flags),
        records: await rejectedRecords(db, flags),
      }))
      const found = { counts, records: flags.show ? await withPayloads(config, records) : records }
      console.log(flags.json ? JSON.stringify(found, null, 2) : describe(found.counts, found.records))
    })
}

interface RejectedRecord {
  partition: number
  offset: number
  reason: string
  rejectedAt: string
  /** As it is in Kafka; null for a record without a value, undefined where it was not asked for or is gone. */
  payload?: string | null
}

type Counts = Awaited<ReturnType<typeof rejectedCounts>>

function rejectedCounts(db: Db, { reason }: Flags) {
  return db
    .selectFrom('rejected_counts')
    .select(['reason', 'partition', 'records'])
    .$if(reason !== undefined, query => query.where('reason', '=', reason!))
    .orderBy('reason')
    .orderBy('partition')
    .execute()
}

async function rejectedRecords(db: Db, { reason, limit }: Flags): Promise<RejectedRecord[]> {
  const rows = await db
    .selectFrom('rejected_events')
    .selectAll()
    .$if(reason !== undefined, query => query.where('reason', '=', reason!))
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

/** The payload stays in Kafka until somebody asks for it here. */
async function withPayloads(config: Config, records: RejectedRecord[]): Promise<RejectedRecord[]> {
  const { kafka, settings } = config
  const { topic, group } = settings
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
      signal: interruption(),
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

function describe(counts: Counts, records: RejectedRecord[]): string {
  if (counts.length === 0) return 'No record was rejected.'
  const lines = [
    table(
      ['reason', 'partition', 'records'],
      counts.map(({ reason, partition, records }) => [reason, String(partition), records]),
    ),
  ]
  for (const { partition, offset, reason, rejectedAt, payload } of records)
    lines.push('', `${rejectedAt}  partition ${partition}, offset ${offset}: ${reason}`, ...shown(payload))
  return lines.join('\n')
}

function shown(payload: string | null | undefined): string[] {
  if (payload === undefined) return []
  if (payload === null) return ['  (no value)']
  return [`  ${printable(payload.slice(0, SHOWN))}${payload.length > SHOWN ? ' …' : ''}`]
}
