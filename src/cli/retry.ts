import { Command } from 'commander'
import { loadConfig } from '../config'
import { counted } from '../core/numbers'
import { retryFailedWrites } from '../pipeline/retry'
import { withTemporal } from '../temporal/connection'

export function retryCommand(): Command {
  return new Command('retry')
    .summary('retry permanently failed writes, once you have fixed the cause')
    .description(
      'Retry permanently failed writes at once, after you have fixed the cause. Without this command they are retried ' +
        'at growing intervals.',
    )
    .action(async () => {
      const { settings } = loadConfig()
      const retried = await withTemporal(client => retryFailedWrites(client, settings.group))
      console.log(
        retried === 0
          ? 'Nothing is waiting for Postgres.'
          : `Retrying the writes of ${counted(retried, 'workflow')}.`,
      )
    })
}
