import { Command } from 'commander'
import { loadConfig } from '../config'
import { describeStuck } from '../contract/unsettled'
import { formatWindow } from '../core/window/tumbling-window'
import { withDatabase } from '../pipeline/database'
import { mergeWindows, newestResults, unfinishedWindows, type WindowLine } from '../pipeline/window-list'
import { withTemporal } from '../temporal/connection'
import { printable, table } from '../terminal/table'
import { limit } from './options'
import { print } from './output'

export function windowsCommand(): Command {
  return new Command('windows')
    .summary('list open and stuck windows, and the newest results')
    .description(
      'List the newest windows: those that are open, those that are stuck, with the reason, and the results in Postgres.',
    )
    .option('--limit <n>', 'maximum number of unfinished windows, and of results', limit, 20)
    .option('--json', 'print as JSON')
    .action(async ({ limit, json }: { limit: number; json?: true }) => {
      const config = loadConfig()
      const { running, unsettled } = await withTemporal(client => unfinishedWindows(client, config, limit))
      const results = await withDatabase(config, db => newestResults(db, limit)).catch((error: unknown) => {
        // What Temporal knows is most useful while Postgres is down.
        if (running.length > 0) print(running, json, describe)
        throw error
      })
      print(mergeWindows([...running, ...unsettled], results), json, describe)
    })
}

function describe(lines: WindowLine[]): string {
  if (lines.length === 0) return 'There are no windows yet.'
  const shown = table(
    ['window (UTC)', 'status', 'hits', 'late', 'unlocated', 'groups', 'revision', 'closed at'],
    lines.map(line => [
      named(line),
      line.status,
      line.hits,
      line.lateHits,
      line.unlocated,
      line.groups,
      line.revision,
      line.closedAt,
    ]),
  )
  const stuck = lines.flatMap(line =>
    line.stuck ? [`${named(line)} is stuck: ${printable(describeStuck(line.stuck))}`] : [],
  )
  const troubles = lines.flatMap(({ trouble }) => (trouble ? [printable(trouble)] : []))
  const notes = [...stuck, ...troubles]
  return [shown, ...(notes.length > 0 ? ['', ...notes] : [])].join('\n')
}

function named({ windowStart, windowEnd }: WindowLine): string {
  return formatWindow(Date.parse(windowStart), Date.parse(windowEnd) - Date.parse(windowStart))
}
