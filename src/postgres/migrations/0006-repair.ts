import type { Kysely } from 'kysely'

/** Adds the end of a stretch of the log for which a repair has recorded the exceptions again. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('exception_ranges').addColumn('range_to', 'bigint').execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('exception_ranges').dropColumn('range_to').execute()
}
