import { Command, Option } from 'commander'
import { loadConfig } from '../config'
import { formatWindow } from '../core/window/tumbling-window'
import type { Db } from '../postgres/database'
import { withDatabase } from '../pipeline/database'
import { table } from '../terminal/table'
import { timeOption, wholeNumber } from './options'

interface Flags {
  from?: number
  to?: number
  cause?: 'watermark' | 'closed'
  limit: number
  json?: true
}

export function lateCommand(): Command {
  return new Command('late')
    .description(
      'events that came after their window, by window, host, referrer and country; the newest windows first',
    )
    .option('--from <time>', 'of windows that begin at this time or later', timeOption)
    .option('--to <time>', 'of windows that end at this time or sooner', timeOption)
    .addOption(
      new Option(
        '--cause <cause>',
        'late by the watermark of their partition, or on time by it and their window had closed while it was idle',
      ).choices(['watermark', 'closed']),
    )
    .option('--limit <n>', 'how many groups', wholeNumber, 20)
    .option('--json', 'print as JSON')
    .action(async (flags: Flags) => {
      const found = await withDatabase(loadConfig(), db => lateGroups(db, flags))
      console.log(flags.json ? JSON.stringify(found, null, 2) : describe(found, flags.limit))
    })
}

type LateGroup = Awaited<ReturnType<typeof lateGroups>>[number]

function lateGroups(db: Db, { from, to, cause, limit }: Flags) {
  return db
    .selectFrom('late_web_traffic')
    .selectAll()
    .$if(from !== undefined, query => query.where('window_start', '>=', new Date(from!)))
    .$if(to !== undefined, query => query.where('window_end', '<=', new Date(to!)))
    .$if(cause !== undefined, query => query.where('cause', '=', cause!))
    .orderBy('window_start', 'desc')
    .orderBy('num_hits', 'desc')
    .orderBy('host')
    .orderBy('referrer')
    .orderBy('country')
    .limit(limit)
    .execute()
}

function describe(found: LateGroup[], limit: number): string {
  if (found.length === 0) return 'No event was late.'
  const rows = found.map(({ window_start, window_end, cause, host, referrer, country, num_hits }) => [
    formatWindow(window_start.getTime(), window_end.getTime() - window_start.getTime()),
    cause,
    host,
    referrer,
    country,
    num_hits,
  ])
  const more = found.length === limit ? `\nThe first ${limit} groups; --limit shows more.` : ''
  return table(['window (UTC)', 'cause', 'host', 'referrer', 'country', 'hits'], rows) + more
}
