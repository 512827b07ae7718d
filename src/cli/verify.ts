import { Command } from 'commander'
import { loadConfig } from '../config'
import { describeUnsettled } from '../contract/unsettled'
import type { VerifySummary } from '../contract/workflows'
import { formatInstant } from '../core/window/tumbling-window'
import type { WindowChoice } from '../pipeline/closed-windows'
import { scheduleVerification, unscheduleVerification, verify } from '../pipeline/verify'
import { withTemporal } from '../temporal/connection'
import { table } from '../terminal/table'
import { describeGone, describeLost, print, printProgress, withWindowChoice } from './output'

interface Flags extends WindowChoice {
  schedule?: true
  unschedule?: true
  detach?: true
  json?: true
}

export function verifyCommand(): Command {
  return withWindowChoice(new Command('verify'))
    .summary('compare Postgres with a new count of closed windows')
    .description(
      'Count closed windows again from Kafka and compare Postgres with the result, row by row. By default, all closed ' +
        'windows are compared. Exits with 1 if anything differs.',
    )
    .option('--schedule', 'verify the previous day every night at 02:00 UTC')
    .option('--unschedule', 'stop the nightly verification')
    .action((window: number | undefined, flags: Flags) => {
      const config = loadConfig()
      return withTemporal(async client => {
        if (flags.schedule) {
          await scheduleVerification(client, config)
          console.log('Scheduled a verification of the previous day every night at 02:00 UTC.')
        } else if (flags.unschedule) {
          await unscheduleVerification(client, config)
          console.log('Stopped the nightly verification.')
        } else {
          const verified = await verify(client, config, { ...flags, window }, printProgress)
          if (!verified) return
          print(verified.summary, flags.json, summary => describe(summary, verified.windowSize))
          if (verified.failed) process.exitCode = 1
        }
      })
    })
}

function describe(found: VerifySummary, windowSize: number): string {
  const { summary, windows, gone, goneWindows, missing, lost = 0, lostWindows = [], unsettled = [] } = found
  const unbalanced = windows.flatMap(({ start, balance }) =>
    balance ? [{ start, since: start, balance }] : [],
  )
  const incomplete = [...unsettled, ...unbalanced].map(window => describeUnsettled(window, windowSize))
  return [
    summary,
    ...(windows.length > 0 ? ['', differencesTable(windows)] : []),
    ...(incomplete.length > 0 ? ['', ...incomplete] : []),
    ...(missing.length > 0 ? ['', `Without a result: ${missing.join(', ')}`] : []),
    ...describeGone(gone, goneWindows),
    ...describeLost(lost, lostWindows),
  ].join('\n')
}

function differencesTable(windows: VerifySummary['windows']): string {
  const rows = windows.flatMap(({ start, stored, counted, differences, more }) => {
    const window = formatInstant(start)
    return [
      [window, 'traffic_windows', '', '', '', stored, counted],
      ...differences.map(({ table, host, referrer, country = '', stored, counted }) => [
        ...[window, table, host, referrer, country],
        ...[stored, counted],
      ]),
      ...(more > 0 ? [[window, `and ${more} more`, '', '', '', null, null]] : []),
    ]
  })
  return table(['window (UTC)', 'relation', 'host', 'referrer', 'country', 'Postgres', 'Kafka'], rows)
}
