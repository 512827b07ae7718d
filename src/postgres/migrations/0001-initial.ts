import { sql, type Kysely } from 'kysely'

const COUNTS = sql`bigint`

export async function up(db: Kysely<unknown>): Promise<void> {
  await createPipeline(db)
  await createResults(db)
  await createStagedPieces(db)
  await createExceptions(db)
  await createViews(db)
}

/** A schema belongs to one pipeline: its owner is recorded, and any other is refused. */
async function createPipeline(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('pipeline')
    .addColumn('singleton', 'boolean', column =>
      column
        .primaryKey()
        .defaultTo(true)
        .check(sql`singleton`),
    )
    .addColumn('kafka_group', 'text', column => column.notNull())
    .addColumn('topic', 'text', column => column.notNull())
    .addColumn('namespace', 'text', column => column.notNull())
    .addColumn('created_at', 'timestamptz', column => column.notNull().defaultTo(sql`now()`))
    .execute()
}

async function createResults(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('window_results')
    .addColumn('window_start', 'timestamptz', column => column.primaryKey())
    .addColumn('window_end', 'timestamptz', column => column.notNull())
    .addColumn('status', 'text', column => column.notNull().check(sql`status in ('published', 'closed')`))
    .addColumn('num_hits', COUNTS, column => column.notNull())
    .addColumn('groups', COUNTS, column => column.notNull())
    .addColumn('revision', 'integer', column => column.notNull())
    .addColumn('closed_at', 'timestamptz', column => column.notNull())
    .addColumn('partitions', 'jsonb', column => column.notNull())
    .execute()
  for (const [table, hasCountry] of [
    ['aggregated_web_traffic', false],
    ['aggregated_web_traffic_by_country', true],
  ] as const) {
    const counts = db.schema
      .createTable(table)
      .addColumn('window_start', 'timestamptz', column => column.notNull())
      .addColumn('window_end', 'timestamptz', column => column.notNull())
      .addColumn('host', 'text', column => column.notNull())
      .addColumn('referrer', 'text', column => column.notNull())
    await (hasCountry ? counts.addColumn('country', 'text', column => column.notNull()) : counts)
      .addColumn('num_hits', COUNTS, column => column.notNull())
      .execute()
    // Without the referrer, which may be longer than an index entry can be.
    await db.schema.createIndex(`${table}_window_host`).on(table).columns(['window_start', 'host']).execute()
  }
}

/** Parts of windows that are too large for one message, until the window is closed. */
async function createStagedPieces(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('staged_pieces')
    .addColumn('window_start', 'timestamptz', column => column.notNull())
    .addColumn('chain', 'text', column => column.notNull())
    .addColumn('number', 'integer', column => column.notNull())
    .addColumn('counts', 'json', column => column.notNull())
    .addPrimaryKeyConstraint('staged_pieces_pkey', ['window_start', 'chain', 'number'])
    .execute()
}

async function createExceptions(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('exception_ranges')
    .addColumn('kafka_partition', 'integer', column => column.notNull())
    .addColumn('range_from', 'bigint', column => column.notNull())
    .addPrimaryKeyConstraint('exception_ranges_pkey', ['kafka_partition', 'range_from'])
    .execute()
  await db.schema
    .createTable('late_deltas')
    .addColumn('kafka_partition', 'integer', column => column.notNull())
    .addColumn('range_from', 'bigint', column => column.notNull())
    .addColumn('window_start', 'timestamptz', column => column.notNull())
    .addColumn('window_end', 'timestamptz', column => column.notNull())
    .addColumn('host', 'text', column => column.notNull())
    .addColumn('referrer', 'text', column => column.notNull())
    .addColumn('country', 'text', column => column.notNull())
    .addColumn('num_hits', COUNTS, column => column.notNull())
    .addColumn('cause', 'text', column => column.notNull().check(sql`cause in ('watermark', 'closed')`))
    .execute()
  await db.schema.createIndex('late_deltas_window').on('late_deltas').column('window_start').execute()
  await db.schema
    .createTable('rejected_counts')
    .addColumn('topic', 'text', column => column.notNull())
    .addColumn('partition', 'integer', column => column.notNull())
    .addColumn('reason', 'text', column => column.notNull())
    .addColumn('records', COUNTS, column => column.notNull())
    .addPrimaryKeyConstraint('rejected_counts_pkey', ['topic', 'partition', 'reason'])
    .execute()
  await db.schema
    .createTable('rejected_events')
    .addColumn('topic', 'text', column => column.notNull())
    .addColumn('partition', 'integer', column => column.notNull())
    .addColumn('kafka_offset', 'bigint', column => column.notNull())
    .addColumn('reason', 'text', column => column.notNull())
    .addColumn('rejected_at', 'timestamptz', column => column.notNull().defaultTo(sql`now()`))
    .addPrimaryKeyConstraint('rejected_events_pkey', ['topic', 'partition', 'kafka_offset'])
    .execute()
  await db.schema
    .createIndex('rejected_events_reason')
    .on('rejected_events')
    .columns(['topic', 'partition', 'reason', 'kafka_offset'])
    .execute()
}

async function createViews(db: Kysely<unknown>): Promise<void> {
  await sql`
    create view late_web_traffic as
      select window_start, window_end, host, referrer, country, sum(num_hits)::bigint as num_hits, cause
      from late_deltas
      group by window_start, window_end, host, referrer, country, cause`.execute(db)
  await sql`
    create view traffic_windows as
      select w.window_start, w.window_end, w.status, w.num_hits,
        coalesce((select sum(l.num_hits) from late_deltas l where l.window_start = w.window_start), 0)::bigint
          as late_hits,
        w.groups, w.revision, w.closed_at, w.partitions
      from window_results w`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const view of ['traffic_windows', 'late_web_traffic']) await db.schema.dropView(view).execute()
  for (const table of [
    'rejected_events',
    'rejected_counts',
    'late_deltas',
    'exception_ranges',
    'staged_pieces',
    'aggregated_web_traffic_by_country',
    'aggregated_web_traffic',
    'window_results',
    'pipeline',
  ])
    await db.schema.dropTable(table).execute()
}
