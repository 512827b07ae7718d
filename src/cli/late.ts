import { Command, Option } from 'commander'
import { loadConfig } from '../config'
import { formatWindow } from '../core/window/tumbling-window'
import { withDatabase } from '../pipeline/database'
import { lateGroups, type LateFilter } from '../pipeline/late'
import { table } from '../terminal/table'
import { limit, time } from './options'
import { print } from './output'

export function lateCommand(): Command {
  return new Command('late')
    .summary('list late events by window, host, referrer and country')
    .description(
      'List the events that arrived too late for their window, by window, host, referrer and country. The newest ' +
        'windows come first.',
    )
    .option('--from <time>', 'only windows that start at this time or later', time)
    .option('--to <time>', 'only windows that end at this time or earlier', time)
    .addOption(
      new Option(
        '--cause <cause>',
        'watermark: behind the watermark of their partition; closed: not behind it, but their window had closed ' +
          'while the partition was idle',
      ).choices(['watermark', 'closed']),
    )
    .option('--limit <n>', 'maximum number of groups', limit, 20)
    .option('--json', 'print as JSON')
    .action(async ({ json, ...filter }: LateFilter & { json?: true }) => {
      const groups = await withDatabase(loadConfig(), db => lateGroups(db, filter))
      print(groups, json, () => describe(groups, filter.limit))
    })
}

function describe(groups: Awaited<ReturnType<typeof lateGroups>>, limit: number): string {
  if (groups.length === 0) return 'No event was late.'
  const rows = groups.map(({ window_start, window_end, cause, host, referrer, country, num_hits }) => [
    formatWindow(window_start.getTime(), window_end.getTime() - window_start.getTime()),
    cause,
    host,
    referrer,
    country,
    num_hits,
  ])
  const more = groups.length === limit ? `\nThe first ${limit} groups; pass --limit to see more.` : ''
  return table(['window (UTC)', 'cause', 'host', 'referrer', 'country', 'hits'], rows) + more
}
