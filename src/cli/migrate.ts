import { Command } from 'commander'
import { loadConfig } from '../config'
import { asUserError, withDatabase } from '../pipeline/database'
import { createDatabase, migrate } from '../postgres/migrate'
import { withTemporal } from '../temporal/connection'
import { registerSearchAttributes } from '../temporal/search-attributes'

/** A migration may rewrite a large table, and a person watches it. */
const UNLIMITED = {}

export function migrateCommand(): Command {
  return new Command('migrate')
    .summary('create or upgrade the database, and register the search attributes')
    .description(
      'Create the database if needed, bring its schema up to date, and register the search attributes with Temporal. ' +
        'ddl/init.sql creates the same schema in plain SQL.',
    )
    .action(async () => {
      const config = loadConfig()
      const created = await createDatabase(config.postgres).catch((error: unknown) => {
        throw asUserError(error, config)
      })
      if (created) console.log(`Created the database "${config.postgres.database}".`)
      const migrations = await withDatabase(config, migrate, UNLIMITED)
      console.log(migrations.length > 0 ? `Migrated: ${migrations.join(', ')}.` : 'The schema is up to date.')
      const registered = await withTemporal(registerSearchAttributes)
      console.log(
        registered.length > 0
          ? `Registered: ${registered.map(({ name }) => name).join(', ')}.`
          : 'The search attributes are registered.',
      )
    })
}
