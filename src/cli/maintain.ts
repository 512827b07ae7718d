import { Command } from 'commander'
import { loadConfig } from '../config'
import { formatDuration } from '../core/duration'
import { maintainId } from '../contract/ids'
import { withTemporal } from '../temporal/connection'
import type { MaintainSummary } from '../contract/workflows'
import { maintainInput, scheduleMaintenance, unscheduleMaintenance } from '../pipeline/maintenance'
import { settingsOf, startOrJoin } from '../pipeline/workflow-runs'

interface Flags {
  schedule?: true
  unschedule?: true
  json?: true
}

export function maintainCommand(): Command {
  return new Command('maintain')
    .description(
      'make partitions ahead, add up hours, days and months that are over, and drop what is past RETENTION',
    )
    .option('--schedule', 'from now on every hour, with the RETENTION of now; "start" does so too')
    .option('--unschedule', 'no longer')
    .option('--json', 'print as JSON')
    .action(async (flags: Flags) => {
      const config = loadConfig()
      await withTemporal(async client => {
        if (flags.unschedule) {
          await unscheduleMaintenance(client, config.settings.group)
          console.log('Maintenance is no longer scheduled; "web-traffic start" schedules it again.')
          return
        }
        const settings = await settingsOf(client, config)
        if (flags.schedule) {
          await scheduleMaintenance(client, config, settings)
          const kept = config.retention === undefined ? 'for ever' : `for ${formatDuration(config.retention)}`
          console.log(
            `Every hour the tables are looked after, and counts are kept ${kept}; the Temporal Web UI has it under Schedules.`,
          )
          return
        }
        const handle = await startOrJoin(client, config, settings, {
          type: 'maintain',
          workflowId: maintainId(settings.group, 'now'),
          input: maintainInput(config, settings),
          summary: 'maintain the tables',
        })
        const done = (await handle.result()) as MaintainSummary
        console.log(flags.json ? JSON.stringify(done, null, 2) : done.summary)
      })
    })
}
