import { Command } from 'commander'
import { loadConfig } from '../config'
import { formatInstant, formatWindow } from '../core/window/tumbling-window'
import { withTemporal } from '../temporal/connection'
import { withDatabase } from '../pipeline/database'
import { printable, table } from '../terminal/table'
import type { Stuck } from '../contract/messages'
import { mergeWindows, newestResults, unfinishedWindows, type WindowLine } from '../pipeline/window-list'
import { wholeNumber } from './options'

export function windowsCommand(): Command {
  return new Command('windows')
    .description('the newest windows: those that are open or stuck, and the results in Postgres')
    .option('--limit <n>', 'how many of each', wholeNumber, 20)
    .option('--json', 'print as JSON')
    .action(async ({ limit, json }: { limit: number; json?: true }) => {
      const config = loadConfig()
      const { running, unsettled } = await withTemporal(client => unfinishedWindows(client, config, limit))
      const show = (lines: WindowLine[]) =>
        console.log(json ? JSON.stringify(lines, null, 2) : describe(lines))
      const results = await withDatabase(config, db => newestResults(db, limit)).catch((error: unknown) => {
        // What Temporal knows is all the more of use.
        if (running.length > 0) show(running)
        throw error
      })
      show(mergeWindows([...running, ...unsettled], results))
    })
}

function describe(lines: WindowLine[]): string {
  if (lines.length === 0) return 'There is no window yet.'
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
  const stuck = lines.flatMap(line => (line.stuck ? [`${named(line)} is stuck: ${explain(line.stuck)}`] : []))
  const troubles = lines.flatMap(({ trouble }) => (trouble ? [trouble] : []))
  const notes = [...stuck, ...troubles]
  return [shown, ...(notes.length > 0 ? ['', ...notes] : [])].join('\n')
}

function named({ windowStart, windowEnd }: WindowLine): string {
  return formatWindow(Date.parse(windowStart), Date.parse(windowEnd) - Date.parse(windowStart))
}

function explain({ step, since, reason, nextTry }: Stuck): string {
  const tried = `since ${formatInstant(since)} it has tried to ${step}.`
  const why = reason === undefined ? '' : ` ${printable(reason)}`
  const next =
    nextTry === undefined
      ? ''
      : ` Mend that and run "web-traffic retry"; by itself it is tried again at ${formatInstant(nextTry)}.`
  return tried + why + next
}
