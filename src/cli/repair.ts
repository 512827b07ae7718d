import { Command } from 'commander'
import { loadConfig } from '../config'
import type { RepairSummary } from '../contract/workflows'
import { formatWindow } from '../core/window/tumbling-window'
import { UserError } from '../errors'
import { repair } from '../pipeline/repair'
import { withTemporal } from '../temporal/connection'
import { table } from '../terminal/table'
import { time } from './options'
import { print, printProgress } from './output'

export function repairCommand(): Command {
  return new Command('repair')
    .summary('count a window again that is stuck or whose run was lost')
    .description(
      'Count one window again from Kafka, with its late and rejected records, after its run was terminated or lost, or ' +
        'if it is stuck.',
    )
    .argument('<window>', 'any time in the window, such as 2026-01-31T12:05:00Z', time)
    .option('--accept-loss', 'publish what Kafka still has; the rest is lost for good')
    .option('--json', 'print as JSON')
    .action(async (window: number, { acceptLoss = false, json }: { acceptLoss?: boolean; json?: true }) => {
      const config = loadConfig()
      const { outcome, windowSize } = await withTemporal(client =>
        repair(client, config, window, acceptLoss, printProgress),
      )
      if ('summary' in outcome) return print(outcome, json, () => describe(outcome, windowSize))
      if (!json) throw new UserError(outcome.message)
      console.log(JSON.stringify({ summary: outcome.message, ...outcome.details }, null, 2))
      process.exitCode = 1
    })
}

function describe(repaired: RepairSummary, windowSize: number): string {
  const { summary, start, revision, hits, hitsBefore, exceptions, exceptionsBefore, balance } = repaired
  const row = (name: string, before: number, now: number, sum: 'hits' | 'exceptions') => [
    name,
    before,
    now,
    balance?.told[sum] ?? null,
    balance?.accounted[sum] ?? null,
  ]
  return [
    summary,
    '',
    `${formatWindow(start, windowSize)}, revision ${revision}`,
    table(
      ['records', 'before', 'now', 'announced', 'accounted for'],
      [
        row('hits', hitsBefore, hits, 'hits'),
        row('late and rejected', exceptionsBefore, exceptions, 'exceptions'),
      ],
    ),
    ...(balance
      ? []
      : ['A release without books opened this window, so there is nothing to compare it with.']),
  ].join('\n')
}
