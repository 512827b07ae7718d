import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { Command } from 'commander'
import { sql } from 'kysely'
import { loadConfig, type Config } from '../config'
import { republishRecords, type Republishable } from '../kafka/republish'
import { rangesThatAreGone, readRanges, type LogRange } from '../kafka/range-reader'
import type { Db } from '../postgres/database'
import { withDatabase } from '../pipeline/database'
import { counted } from '../core/numbers'
import { UserError } from '../errors'
import { interruption } from '../terminal/interruption'
import { printable, table } from '../terminal/table'
import { wholeNumber } from './options'

interface Flags {
  reason?: string
  limit: number
  show?: true
  republish?: true
  through?: string
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
    .option('--republish', 'send them to the topic again, each once, as new records of their partition')
    .option(
      '--through <command>',
      'with --republish: mend each by a shell command that reads and prints a payload',
    )
    .option('--json', 'print as JSON')
    .action(async (flags: Flags) => {
      const config = loadConfig()
      if (flags.through !== undefined && !flags.republish)
        throw new UserError('--through mends what --republish sends: give both.')
      if (flags.republish) return republish(config, flags)
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

async function rejectedRecords(db: Db, { reason, limit, republish }: Flags): Promise<RejectedRecord[]> {
  const rows = await db
    .selectFrom('rejected_events')
    .selectAll()
    .$if(reason !== undefined, query => query.where('reason', '=', reason!))
    .$if(republish === true, query => query.where('republished_at', 'is', null))
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

async function republish(config: Config, flags: Flags): Promise<void> {
  await withDatabase(config, async db => {
    const records = await withPayloads(config, await rejectedRecords(db, flags))
    const sendable = records.flatMap(({ partition, offset, payload }): Republishable[] =>
      typeof payload === 'string' ? [{ partition, offset, payload }] : [],
    )
    // All of them before any is sent, so that a command that fails leaves nothing half done.
    const mended = await Promise.all(
      sendable.map(async record => ({ ...record, payload: await mend(record, flags.through) })),
    )
    await republishRecords(config.kafka, config.settings.topic, mended, sent =>
      markRepublished(db, config, sent),
    )
    const outcome = { republished: mended.length, withoutPayload: records.length - mended.length }
    if (flags.json) return console.log(JSON.stringify(outcome, null, 2))
    console.log(`Sent ${counted(outcome.republished, 'record')} to "${config.settings.topic}" again.`)
    if (outcome.withoutPayload > 0)
      console.log(`${outcome.withoutPayload} were not: they have no value, or Kafka no longer has them.`)
  })
}

async function mend({ partition, offset, payload }: Republishable, command?: string): Promise<string> {
  if (command === undefined) return payload
  const run = spawn(command, { shell: true, stdio: ['pipe', 'pipe', 'inherit'] })
  // One that does not read its input ends before all of it is written.
  run.stdin.on('error', () => undefined).end(payload)
  const [[code], printed] = await Promise.all([
    once(run, 'close') as Promise<[number | null]>,
    text(run.stdout),
  ])
  const output = printed.replace(/\n$/, '')
  if (code === 0 && output !== '') return output
  const what = code === 0 ? 'printed nothing' : `ended with ${code ?? 'a signal'}`
  throw new UserError(
    `The command of --through ${what} for offset ${offset} of partition ${partition}: nothing was sent.`,
  )
}

/** So that a repeat does not send them once more. */
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
