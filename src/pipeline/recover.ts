import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import type { RecoverInput } from '../contract/activities'
import { recoverId } from '../contract/ids'
import type { RecoverSummary } from '../contract/workflows'
import { formatInstant } from '../core/window/tumbling-window'
import { settingsOf, startOrJoin } from './workflow-runs'

/** Repeats the writes since a time (epoch milliseconds) from the workflow histories. */
export async function recover(client: Client, config: Config, since: number): Promise<RecoverSummary> {
  const settings = await settingsOf(client, config)
  const handle = await startOrJoin(client, config, settings, {
    type: 'recover',
    workflowId: recoverId(settings.group, since),
    input: { settings, since } satisfies RecoverInput,
    summary: `write again what was written since ${formatInstant(since)}`,
  })
  return handle.result() as Promise<RecoverSummary>
}
