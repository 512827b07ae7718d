import { WorkflowFailedError } from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import { Command } from 'commander'
import type { RepairInput, RepairOutcome } from '../contract/activities'
import { loadConfig } from '../config'
import { repairId } from '../contract/ids'
import { formatInstant, formatWindow, windowStart } from '../core/window/tumbling-window'
import { UserError } from '../errors'
import { withTemporal } from '../temporal/connection'
import { NOT_REPAIRED } from '../contract/messages'
import { follow } from './recount'
import { table } from '../terminal/table'
import type { RepairSummary } from '../contract/workflows'
import { settingsOf, startOrJoin } from '../pipeline/workflow-runs'
import { timeOption } from './options'

export function repairCommand(): Command {
  return new Command('repair')
    .description(
      'count one window again from Kafka, with its late and rejected records, where its run was terminated, lost or stuck',
    )
    .argument('<window>', 'by a time in it, such as 2026-01-31T12:05:00Z', timeOption)
    .option('--accept-loss', 'publish what Kafka still has, and give up the rest for good')
    .option('--json', 'print as JSON')
    .action(async (window: number, { acceptLoss, json }: { acceptLoss?: true; json?: true }) => {
      const config = loadConfig()
      const { repaired, windowSize } = await withTemporal(async client => {
        const settings = await settingsOf(client, config)
        const start = windowStart(window, settings.windowSize)
        const handle = await startOrJoin(client, config, settings, {
          type: 'repair',
          workflowId: repairId(settings.group, start),
          input: { settings, start, acceptLoss: acceptLoss ?? false } satisfies RepairInput,
          summary: `repair ${formatInstant(start)}${acceptLoss ? ', accepting losses' : ''}`,
        })
        const repaired = await follow<RepairSummary>(handle).catch((error: unknown) => refusal(error))
        return { repaired, windowSize: settings.windowSize }
      })
      if ('failure' in repaired) {
        if (!json) throw new UserError(repaired.failure)
        console.log(JSON.stringify({ summary: repaired.failure, ...repaired.outcome }, null, 2))
        process.exitCode = 1
        return
      }
      console.log(json ? JSON.stringify(repaired, null, 2) : describe(repaired, windowSize))
    })
}

function refusal(error: unknown): { failure: string; outcome: RepairOutcome } {
  const failure = error instanceof WorkflowFailedError ? error.cause : undefined
  if (!(failure instanceof ApplicationFailure) || failure.type !== NOT_REPAIRED) throw error
  return { failure: failure.message, outcome: failure.details![0] as RepairOutcome }
}

function describe(repaired: RepairSummary, windowSize: number): string {
  const { summary, start, revision, hits, hitsBefore, exceptions, exceptionsBefore, balance } = repaired
  const rows = [
    ['hits', hitsBefore, hits, balance?.told.hits ?? null, balance?.accounted.hits ?? null],
    [
      'late and rejected',
      exceptionsBefore,
      exceptions,
      balance?.told.exceptions ?? null,
      balance?.accounted.exceptions ?? null,
    ],
  ]
  return [
    summary,
    '',
    `${formatWindow(start, windowSize)}, revision ${revision}`,
    table(['records', 'before', 'now', 'told by the ledger', 'accounted for'], rows),
    ...(balance ? [] : ['It was opened under a release without books: there is nothing to compare it with.']),
  ].join('\n')
}
