import { Command } from 'commander'
import { loadConfig, type Config } from '../config'
import { counted } from '../core/numbers'
import { UserError } from '../errors'
import { withDatabase } from '../pipeline/database'
import {
  rejectedCounts,
  rejectedRecords,
  republishRejected,
  withPayloads,
  type RejectedCount,
  type RejectedFilter,
  type RejectedRecord,
} from '../pipeline/rejected'
import { interruption } from '../terminal/interruption'
import { printable, table } from '../terminal/table'
import { limit } from './options'
import { print } from './output'

interface Flags extends RejectedFilter {
  show?: true
  republish?: true
  through?: string
  json?: true
}

/** Characters of a payload that the terminal shows; `--json` prints all of it. */
const SHOWN = 200

export function rejectedCommand(): Command {
  return new Command('rejected')
    .summary('list the records that are not usable events, or send them again')
    .description(
      'Count the records that are not usable events, by reason and partition, and list the newest of them. With ' +
        '--republish, send them to the topic again.',
    )
    .option('--reason <reason>', 'only records that were rejected for this reason, such as invalid_json')
    .option('--limit <n>', 'maximum number of records', limit, 20)
    .option('--show', 'read each record from Kafka and print its payload, which may contain an IP address')
    .option('--republish', 'send each record to its partition again, once')
    .option(
      '--through <command>',
      'with --republish: pipe each payload through this shell command, and send what it prints',
    )
    .option('--json', 'print as JSON')
    .action(async (flags: Flags) => {
      const config = loadConfig()
      if (flags.through !== undefined && !flags.republish)
        throw new UserError('--through is for --republish only.')
      await (flags.republish ? republish(config, flags) : list(config, flags))
    })
}

async function list(config: Config, flags: Flags): Promise<void> {
  const found = await withDatabase(config, async db => ({
    counts: await rejectedCounts(db, flags),
    records: await rejectedRecords(db, flags),
  }))
  if (flags.show) found.records = await withPayloads(config, found.records, interruption())
  print(found, flags.json, ({ counts, records }) => describe(counts, records))
}

async function republish(config: Config, flags: Flags): Promise<void> {
  const outcome = await withDatabase(config, db =>
    republishRejected(db, config, flags, flags.through, interruption()),
  )
  print(outcome, flags.json, ({ republished, withoutPayload }) =>
    [
      `Sent ${counted(republished, 'record')} to "${config.settings.topic}" again.`,
      ...(withoutPayload > 0
        ? [`Skipped ${counted(withoutPayload, 'record')} that Kafka no longer has or that have no value.`]
        : []),
    ].join('\n'),
  )
}

function describe(counts: RejectedCount[], records: RejectedRecord[]): string {
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
