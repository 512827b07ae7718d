import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import { replayId } from '../contract/ids'
import type { ReplayInput, ReplaySummary } from '../contract/workflows'
import { UserError } from '../errors'
import { requireFound, selectionName, selectionOf, type WindowChoice } from './closed-windows'
import { follow } from './workflow-results'
import { settingsOf, startOrJoin } from './workflow-runs'

export interface ReplayOptions extends WindowChoice {
  /** Only windows with late events that are in no result. */
  late?: true
  /** Only windows with hits under `??` because the lookup failed. */
  unlocated?: true
  all?: true
  includeLate?: true
  acceptLoss?: true
  /** Return undefined once the workflow has started. */
  detach?: true
}

/**
 * Counts the chosen windows again from Kafka and publishes those that differ.
 *
 * @throws UserError if no window was chosen, or a single one that is not closed
 */
export async function replay(
  client: Client,
  config: Config,
  options: ReplayOptions,
  onProgress: (line: string) => void,
): Promise<ReplaySummary | undefined> {
  const { late, unlocated, all, includeLate = false, acceptLoss } = options
  const settings = await settingsOf(client, config)
  const selection = {
    ...selectionOf(options, settings),
    ...(late && { late }),
    ...(unlocated && { unlocated }),
  }
  if (Object.keys(selection).length === 0 && !all)
    throw new UserError('Choose windows: pass a time in one, --from and --to, --late, --unlocated, or --all.')
  const name =
    selectionName(selection) +
    (includeLate ? ' with late events' : '') +
    (acceptLoss ? ' accepting losses' : '')
  const handle = await startOrJoin(client, config, settings, {
    type: 'replay',
    workflowId: replayId(settings.group, name),
    input: { settings, selection, includeLate, ...(acceptLoss && { acceptLoss }) } satisfies ReplayInput,
    summary: `replay ${name}`,
  })
  if (options.detach) return undefined
  const summary = await follow<ReplaySummary>(handle, onProgress)
  requireFound(options, summary.replayed + summary.unchanged + summary.gone + (summary.lost ?? 0))
  return summary
}
