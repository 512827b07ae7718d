import { Command } from 'commander'
import { loadConfig } from '../config'
import { formatDuration } from '../core/duration'
import { findProblems } from '../pipeline/health'
import { pipelineStatus, type PipelineStatus } from '../pipeline/status'
import { withTemporal } from '../temporal/connection'
import { printable, table } from '../terminal/table'
import { whole } from './options'
import { print } from './output'

export function statusCommand(): Command {
  return new Command('status')
    .summary('show the state and the problems of the pipeline')
    .description(
      'Show pollers, partitions, lag, watermarks and record totals, and list problems. Exits with 1 if there is a ' +
        'problem, so it works as a health check.',
    )
    .option(
      '--max-lag <records>',
      'report a problem if more records are unread',
      whole(1, Number.MAX_SAFE_INTEGER),
    )
    .option('--json', 'print as JSON')
    .action(async ({ json, maxLag }: { json?: true; maxLag?: number }) => {
      const config = loadConfig()
      const found = await withTemporal(async client => {
        const status = await pipelineStatus(client, config)
        return { ...status, problems: await findProblems(client, status, maxLag) }
      })
      print(found, json, describe)
      if (found.problems.length > 0) process.exitCode = 1
    })
}

const COLUMNS = [
  ...(['partition', 'poller', 'position', 'end', 'lag', 'watermark'] as const),
  ...(['idle', 'records', 'hits', 'late', 'rejected'] as const),
]

function describe(status: PipelineStatus & { problems: string[] }): string {
  const { windows, totals, pollers, problems, windowSize } = status
  const open = windows.oldestOpen === null ? '' : `, the oldest from ${windows.oldestOpen}`
  return [
    ...(problems.length > 0 ? ['UNHEALTHY', ...problems.map(problem => `  ${printable(problem)}`), ''] : []),
    `${status.group} on ${status.topic}: ${status.state}, ${pollers.running.length} of ${pollers.wanted} pollers, ` +
      `lag ${status.lag.toLocaleString('en-US')}`,
    `windows of ${formatDuration(windowSize)}: ${windows.open} open${open}; ${windows.closing} closing; ${windows.closed} closed`,
    `records ${totals.records} = hits ${totals.hits} + late ${totals.late} + rejected ${totals.rejected}`,
    ...(status.webUi === null ? [] : [`Temporal Web UI: ${status.webUi}`]),
    '',
    table(
      COLUMNS,
      status.partitions.map(partition => {
        const shown = {
          ...partition,
          partition: String(partition.partition),
          idle: partition.idle ? 'yes' : '',
        }
        return COLUMNS.map(column => shown[column])
      }),
    ),
  ].join('\n')
}
