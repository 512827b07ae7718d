import { Command } from 'commander'
import { loadConfig } from '../config'
import type { ReplaySummary } from '../contract/workflows'
import { formatInstant } from '../core/window/tumbling-window'
import { replay, type ReplayOptions } from '../pipeline/replay'
import { withTemporal } from '../temporal/connection'
import { table } from '../terminal/table'
import { describeGone, describeLost, print, printProgress, withWindowChoice } from './output'

export function replayCommand(): Command {
  return withWindowChoice(new Command('replay'))
    .summary('count closed windows again and publish those that differ')
    .description(
      'Count closed windows again from Kafka, with the current country lookup, and publish those that differ as their next ' +
        'revision. Exits with 1 if Kafka no longer has all records of a window.',
    )
    .option('--late', 'only windows with late events that are in no result')
    .option(
      '--unlocated',
      'only windows with hits that were counted under ?? while the lookup service was down (GEO_ON_ERROR=unknown)',
    )
    .option('--all', 'all closed windows')
    .option('--include-late', 'add the late events to the results; they no longer count as late')
    .option(
      '--accept-loss',
      'also publish windows for which Kafka has fewer hits than were counted; the rest is lost for good',
    )
    .action(async (window: number | undefined, { json, ...options }: ReplayOptions & { json?: true }) => {
      const config = loadConfig()
      const summary = await withTemporal(client =>
        replay(client, config, { window, ...options }, printProgress),
      )
      if (!summary) return
      print(summary, json, describe)
      if (summary.gone + (summary.lost ?? 0) > 0) process.exitCode = 1
    })
}

function describe(replayed: ReplaySummary): string {
  const { summary, windows, gone, goneWindows, lost = 0, lostWindows = [] } = replayed
  const rows = windows.map(({ start, revision, hitsBefore, hits, broughtIn }) => [
    formatInstant(start),
    revision,
    hitsBefore,
    hits,
    broughtIn,
  ])
  return [
    summary,
    ...(rows.length > 0
      ? ['', table(['window (UTC)', 'revision', 'hits before', 'hits', 'late events added'], rows)]
      : []),
    ...(replayed.replayed > rows.length ? [`and ${replayed.replayed - rows.length} more`] : []),
    ...describeGone(gone, goneWindows),
    ...describeLost(lost, lostWindows),
  ].join('\n')
}
