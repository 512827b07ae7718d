import { sql, type Kysely } from 'kysely'

/**
 * Adds the number of a window's hits that are under `??` because their country lookup failed, and the time at which a
 * rejected record was sent again.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('window_results')
    .addColumn('unlocated', 'bigint', column => column.notNull().defaultTo(0))
    .execute()
  await db.schema
    .createIndex('window_results_unlocated')
    .on('window_results')
    .column('window_start')
    .where(sql.ref('unlocated'), '>', sql.lit(0))
    .execute()
  await createView(db, sql`, w.unlocated`)
  await db.schema.alterTable('rejected_events').addColumn('republished_at', 'timestamptz').execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('rejected_events').dropColumn('republished_at').execute()
  await db.schema.dropView('traffic_windows').execute()
  await db.schema.dropIndex('window_results_unlocated').execute()
  await db.schema.alterTable('window_results').dropColumn('unlocated').execute()
  await createView(db, sql``)
}

async function createView(db: Kysely<unknown>, unlocated: ReturnType<typeof sql>): Promise<void> {
  await sql`
    create or replace view traffic_windows as
      select w.window_start, w.window_end, w.status, w.num_hits,
        coalesce((select sum(l.num_hits) from late_deltas l
          where l.window_start = w.window_start and l.brought_in is null), 0)::bigint as late_hits,
        w.groups, w.revision, w.closed_at, w.partitions${unlocated}
      from window_results w`.execute(db)
}
