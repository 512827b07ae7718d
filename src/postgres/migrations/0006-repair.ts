import type { Kysely } from 'kysely'

/** How far the exceptions of a window reach that were recorded again, by stretches of the log instead of ranges. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('exception_ranges').addColumn('range_to', 'bigint').execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('exception_ranges').dropColumn('range_to').execute()
}
