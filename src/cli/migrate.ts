import { Command } from 'commander'
import { loadConfig } from '../config'
import { createDatabase, migrate } from '../postgres/migrate'
import { registerSearchAttributes } from '../temporal/search-attributes'
import { withTemporal } from '../temporal/connection'
import { asUserError, withDatabase } from '../pipeline/database'

export function migrateCommand(): Command {
  return new Command('migrate')
    .description('bring the database and its schema up to date, and register search attributes with Temporal')
    .action(async () => {
      const config = loadConfig()
      const created = await createDatabase(config.postgres).catch((error: unknown) => {
        throw asUserError(error, config)
      })
      if (created) console.log(`Created the database "${config.postgres.database}".`)
      const ran = await withDatabase(config, migrate)
      console.log(ran.length > 0 ? `Migrated: ${ran.join(', ')}.` : 'The schema is up to date.')
      const registered = await withTemporal(client => registerSearchAttributes(client))
      const names = registered.map(({ name }) => name)
      console.log(
        names.length > 0 ? `Registered: ${names.join(', ')}.` : 'The search attributes are registered.',
      )
    })
}
