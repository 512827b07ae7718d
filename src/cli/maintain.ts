import { Command } from 'commander'
import { loadConfig } from '../config'
import { formatDuration } from '../core/duration'
import { maintainNow, scheduleMaintenance, unscheduleMaintenance } from '../pipeline/maintenance'
import { settingsOf } from '../pipeline/workflow-runs'
import { withTemporal } from '../temporal/connection'
import { print } from './output'

interface Flags {
  schedule?: true
  unschedule?: true
  json?: true
}

export function maintainCommand(): Command {
  return new Command('maintain')
    .summary('create partitions, roll up finished periods, drop expired counts')
    .description(
      'Create partitions in advance, roll up finished hours, days and months for queries over long ranges, and drop ' +
        'counts older than RETENTION. "start" schedules this every hour.',
    )
    .option('--schedule', 'run every hour with the current RETENTION, as "start" does')
    .option('--unschedule', 'stop the hourly runs')
    .option('--json', 'print as JSON')
    .action(async (flags: Flags) => {
      const config = loadConfig()
      await withTemporal(async client => {
        if (flags.unschedule) {
          await unscheduleMaintenance(client, config.settings.group)
          console.log('Stopped the hourly maintenance. "web-traffic start" schedules it again.')
          return
        }
        const settings = await settingsOf(client, config)
        if (flags.schedule) {
          await scheduleMaintenance(client, config, settings)
          const kept = config.retention === undefined ? 'forever' : `for ${formatDuration(config.retention)}`
          console.log(`Scheduled maintenance every hour; counts are kept ${kept}.`)
          return
        }
        print(await maintainNow(client, config, settings), flags.json, ({ summary }) => summary)
      })
    })
}
