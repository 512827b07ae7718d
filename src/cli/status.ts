import { Command } from 'commander'
import { loadConfig, type Config } from '../config'
import { formatDuration } from '../core/duration'
import { withTemporal } from '../temporal/connection'
import { findProblems } from '../pipeline/health'
import { printable, table } from '../terminal/table'
import { type PipelineStatus, pipelineStatus } from '../pipeline/status'
import { wholeNumber } from './options'

export function statusCommand(): Command {
  return new Command('status')
    .description('how far the pipeline is, and whether it is healthy; exits with 1 where it is not')
    .option('--max-lag <records>', 'unhealthy where more records are unread', wholeNumber)
    .option('--json', 'print as JSON')
    .action(async ({ json, maxLag }: { json?: true; maxLag?: number }) => {
      const config = loadConfig()
      const { status, problems } = await withTemporal(async client => {
        const status = await pipelineStatus(client, config)
        return { status, problems: await findProblems(client, status, maxLag) }
      })
      console.log(
        json ? JSON.stringify({ ...status, problems }, null, 2) : describe(status, problems, config),
      )
      if (problems.length > 0) process.exitCode = 1
    })
}

function describe(status: PipelineStatus, problems: string[], { settings }: Config): string {
  const { windows, totals, pollers } = status
  const open = windows.oldestOpen === null ? '' : `, the oldest from ${windows.oldestOpen}`
  return [
    ...(problems.length > 0 ? ['UNHEALTHY', ...problems.map(problem => `  ${printable(problem)}`), ''] : []),
    `${status.group} on ${status.topic}: ${status.state}, ${pollers.running.length} of ${pollers.wanted} pollers, ` +
      `lag ${status.lag.toLocaleString('en-US')}`,
    `windows of ${formatDuration(settings.windowSize)}: ${windows.open} open${open}; ${windows.closing} closing; ${windows.closed} closed`,
    `records ${totals.records} = hits ${totals.hits} + late ${totals.late} + rejected ${totals.rejected}`,
    ...(status.webUi === null ? [] : [`Temporal Web UI: ${status.webUi}`]),
    '',
    table(
      [
        'partition',
        'poller',
        'position',
        'end',
        'lag',
        'watermark',
        'idle',
        'records',
        'hits',
        'late',
        'rejected',
      ],
      status.partitions.map(p => [
        String(p.partition),
        p.poller,
        p.position,
        p.end,
        p.lag,
        p.watermark,
        p.idle ? 'yes' : '',
        p.records,
        p.hits,
        p.late,
        p.rejected,
      ]),
    ),
  ].join('\n')
}
