import { Command } from 'commander'
import { loadConfig } from '../config'
import type { RecoverInput } from '../contract/activities'
import { recoverId } from '../contract/ids'
import { formatInstant } from '../core/window/tumbling-window'
import { withTemporal } from '../temporal/connection'
import type { RecoverSummary } from '../contract/workflows'
import { settingsOf, startOrJoin } from '../pipeline/workflow-runs'
import { timeOption } from './options'

export function recoverCommand(): Command {
  return new Command('recover')
    .description(
      'after Postgres was restored from a backup: write again what was written since, as the histories in Temporal have it',
    )
    .requiredOption('--since <time>', 'when the backup was begun, or sooner', timeOption)
    .option('--json', 'print as JSON')
    .action(async ({ since, json }: { since: number; json?: true }) => {
      const config = loadConfig()
      const recovered = await withTemporal(async client => {
        const settings = await settingsOf(client, config)
        const handle = await startOrJoin(client, config, settings, {
          type: 'recover',
          workflowId: recoverId(settings.group, since),
          input: { settings, since } satisfies RecoverInput,
          summary: `write again what was written since ${formatInstant(since)}`,
        })
        return handle.result() as Promise<RecoverSummary>
      })
      console.log(json ? JSON.stringify(recovered, null, 2) : recovered.summary)
      const { contradictory, incomplete = [] } = recovered
      if (contradictory.length + incomplete.length > 0) process.exitCode = 1
    })
}
