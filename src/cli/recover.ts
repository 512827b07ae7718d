import { Command } from 'commander'
import { loadConfig } from '../config'
import { recover } from '../pipeline/recover'
import { withTemporal } from '../temporal/connection'
import { time } from './options'
import { print } from './output'

export function recoverCommand(): Command {
  return new Command('recover')
    .summary('repeat the writes that a restore of Postgres has undone')
    .description(
      "After Postgres was restored from a backup, repeat the writes since then from the workflows' histories in " +
        'Temporal. Exits with 1 if a result is incomplete.',
    )
    .requiredOption('--since <time>', 'when the backup started, or earlier', time)
    .option('--json', 'print as JSON')
    .action(async ({ since, json }: { since: number; json?: true }) => {
      const config = loadConfig()
      const recovered = await withTemporal(client => recover(client, config, since))
      print(recovered, json, ({ summary }) => summary)
      if (recovered.contradictory.length + (recovered.incomplete?.length ?? 0) > 0) process.exitCode = 1
    })
}
