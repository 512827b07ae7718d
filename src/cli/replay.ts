import { Command } from 'commander'
import { loadConfig } from '../config'
import { replayId } from '../contract/ids'
import { formatInstant } from '../core/window/tumbling-window'
import { withTemporal } from '../temporal/connection'
import { UserError } from '../errors'
import {
  describeGone,
  describeLost,
  follow,
  nameOf,
  requireClosed,
  type SelectionFlags,
  selectionOf,
  withSelection,
} from './recount'
import { table } from '../terminal/table'
import type { ReplayInput, ReplaySummary } from '../contract/workflows'
import { settingsOf, startOrJoin } from '../pipeline/workflow-runs'

interface Flags extends SelectionFlags {
  late?: true
  unlocated?: true
  all?: true
  includeLate?: true
  acceptLoss?: true
}

export function replayCommand(): Command {
  return withSelection(new Command('replay'))
    .description(
      'count closed windows anew from Kafka, with the look-up of today, and publish those that differ as a new revision',
    )
    .option('--late', 'windows with late events that are in no result')
    .option(
      '--unlocated',
      'windows with hits whose look-up failed and was not waited for (GEO_ON_ERROR=unknown)',
    )
    .option('--all', 'every closed window')
    .option(
      '--include-late',
      'bring late events into the result; they are marked with the revision, and late no more',
    )
    .option(
      '--accept-loss',
      'publish also windows of which Kafka has fewer hits than were counted; the rest is given up for good',
    )
    .action(async (window: number | undefined, flags: Flags) => {
      const config = loadConfig()
      const summary = await withTemporal(async client => {
        const settings = await settingsOf(client, config)
        const selection = {
          ...selectionOf(window, flags, settings),
          ...(flags.late && { late: true }),
          ...(flags.unlocated && { unlocated: true }),
        }
        if (Object.keys(selection).length === 0 && !flags.all)
          throw new UserError(
            'Say which windows: one by a time in it, --from and --to, --late, --unlocated, or --all.',
          )
        const input: ReplayInput = {
          ...{ settings, selection, includeLate: flags.includeLate ?? false },
          ...(flags.acceptLoss && { acceptLoss: true }),
        }
        const name =
          nameOf(selection) +
          (input.includeLate ? ' with late events' : '') +
          (input.acceptLoss ? ' accepting losses' : '')
        const handle = await startOrJoin(client, config, settings, {
          type: 'replay',
          workflowId: replayId(settings.group, name),
          input,
          summary: `replay ${name}`,
        })
        if (flags.detach) return undefined
        return follow<ReplaySummary>(handle)
      })
      if (!summary) return
      const lost = summary.lost ?? 0
      requireClosed(window, summary.replayed + summary.unchanged + summary.gone + lost)
      console.log(flags.json ? JSON.stringify(summary, null, 2) : describe(summary))
      if (summary.gone + lost > 0) process.exitCode = 1
    })
}

function describe({
  summary,
  windows,
  replayed,
  gone,
  goneWindows,
  lost = 0,
  lostWindows = [],
}: ReplaySummary): string {
  const lines = [summary]
  if (windows.length > 0)
    lines.push(
      '',
      table(
        ['window (UTC)', 'revision', 'hits before', 'hits', 'late brought in'],
        windows.map(({ start, revision, hitsBefore, hits, broughtIn }) => [
          formatInstant(start),
          revision,
          hitsBefore,
          hits,
          broughtIn,
        ]),
      ),
    )
  if (replayed > windows.length) lines.push(`and ${replayed - windows.length} more`)
  lines.push(...describeGone(gone, goneWindows), ...describeLost(lost, lostWindows))
  return lines.join('\n')
}
