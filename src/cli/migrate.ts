import { Command } from 'commander'
import { loadConfig } from '../config'
import { createDatabase, migrate } from '../postgres/migrate'
import { explain, withDatabase } from './database'

export function migrateCommand(): Command {
  return new Command('migrate')
    .description('create the database where it is missing, and bring its schema up to date')
    .action(async () => {
      const config = loadConfig()
      const created = await createDatabase(config.postgres).catch((error: unknown) => {
        throw explain(error, config)
      })
      if (created) console.log(`Created the database "${config.postgres.database}".`)
      const ran = await withDatabase(config, migrate)
      console.log(ran.length > 0 ? `Migrated: ${ran.join(', ')}.` : 'The schema is up to date.')
    })
}
