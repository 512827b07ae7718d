import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import type { RepairInput, RepairOutcome } from '../contract/activities'
import { repairId } from '../contract/ids'
import { NOT_REPAIRED } from '../contract/messages'
import type { RepairSummary } from '../contract/workflows'
import { formatInstant, windowStart } from '../core/window/tumbling-window'
import { failureOfType, follow } from './workflow-results'
import { settingsOf, startOrJoin } from './workflow-runs'

export interface NotRepaired {
  message: string
  details: RepairOutcome
}

/**
 * Counts one window again from Kafka, with its late and rejected records.
 *
 * @param time any time in the window, epoch milliseconds
 * @param acceptLoss publish what Kafka still has
 */
export async function repair(
  client: Client,
  config: Config,
  time: number,
  acceptLoss: boolean,
  onProgress: (line: string) => void,
): Promise<{ outcome: RepairSummary | NotRepaired; windowSize: number }> {
  const settings = await settingsOf(client, config)
  const start = windowStart(time, settings.windowSize)
  const handle = await startOrJoin(client, config, settings, {
    type: 'repair',
    workflowId: repairId(settings.group, start),
    input: { settings, start, acceptLoss } satisfies RepairInput,
    summary: `repair ${formatInstant(start)}${acceptLoss ? ', accepting losses' : ''}`,
  })
  const outcome = await follow<RepairSummary>(handle, onProgress).catch((error: unknown) =>
    failureOfType<RepairOutcome>(error, NOT_REPAIRED),
  )
  return { outcome, windowSize: settings.windowSize }
}
