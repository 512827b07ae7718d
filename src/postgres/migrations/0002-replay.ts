import { sql, type Kysely } from 'kysely'

/** Late events that a replay brings into their window's result keep their row and are marked with the revision. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('late_deltas').addColumn('brought_in', 'integer').execute()
  await createViews(db, sql`where brought_in is null`, sql`and l.brought_in is null`)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await createViews(db, sql``, sql``)
  await db.schema.alterTable('late_deltas').dropColumn('brought_in').execute()
}

async function createViews(
  db: Kysely<unknown>,
  late: ReturnType<typeof sql>,
  lateOfWindow: ReturnType<typeof sql>,
): Promise<void> {
  await sql`
    create or replace view late_web_traffic as
      select window_start, window_end, host, referrer, country, sum(num_hits)::bigint as num_hits, cause
      from late_deltas ${late}
      group by window_start, window_end, host, referrer, country, cause`.execute(db)
  await sql`
    create or replace view traffic_windows as
      select w.window_start, w.window_end, w.status, w.num_hits,
        coalesce((select sum(l.num_hits) from late_deltas l
          where l.window_start = w.window_start ${lateOfWindow}), 0)::bigint as late_hits,
        w.groups, w.revision, w.closed_at, w.partitions
      from window_results w`.execute(db)
}
