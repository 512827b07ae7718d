import { sql, type Kysely } from 'kysely'

const COUNTS = sql`bigint`

/**
 * Adds the books that the ledger sends each window with its close signal, so that Postgres can always be compared with
 * them; counts that are too large for a message, until their window closes; and the window that exceptions travelled
 * with.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await moveOwner(db, 'pipeline', 'pipeline_owner')
  await db.schema
    .createTable('window_books')
    .addColumn('window_start', 'timestamptz', column => column.notNull())
    .addColumn('book', 'bigint', column => column.notNull())
    .addColumn('num_hits', COUNTS, column => column.notNull())
    .addColumn('exceptions', COUNTS, column => column.notNull())
    .addPrimaryKeyConstraint('window_books_pkey', ['window_start', 'book'])
    .execute()
  await db.schema
    .createTable('staged_deltas')
    .addColumn('window_start', 'timestamptz', column => column.notNull())
    .addColumn('kafka_partition', 'integer', column => column.notNull())
    .addColumn('last_offset', 'bigint', column => column.notNull())
    .addColumn('first_offset', 'bigint', column => column.notNull())
    .addColumn('num_hits', COUNTS, column => column.notNull())
    .addColumn('unlocated', COUNTS, column => column.notNull())
    .addColumn('counts', 'json', column => column.notNull())
    .addPrimaryKeyConstraint('staged_deltas_pkey', ['window_start', 'kafka_partition', 'last_offset'])
    .execute()
  await db.schema
    .alterTable('exception_ranges')
    .addColumn('window_start', 'timestamptz', column => column.notNull().defaultTo('-infinity'))
    .addColumn('records', COUNTS, column => column.notNull().defaultTo(0))
    .addColumn('rejected', 'jsonb', column => column.notNull().defaultTo(sql`'{}'::jsonb`))
    .execute()
  await db.schema.alterTable('exception_ranges').dropConstraint('exception_ranges_pkey').execute()
  await db.schema
    .alterTable('exception_ranges')
    .addPrimaryKeyConstraint('exception_ranges_pkey', ['kafka_partition', 'range_from', 'window_start'])
    .execute()
  await db.schema
    .createIndex('exception_ranges_window')
    .on('exception_ranges')
    .column('window_start')
    .where(sql.ref('window_start'), '>', sql<Date>`'-infinity'`)
    .execute()
  await db.schema.alterTable('late_deltas').addColumn('read_in', 'timestamptz').execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('late_deltas').dropColumn('read_in').execute()
  await db.schema.dropIndex('exception_ranges_window').execute()
  await db.schema.alterTable('exception_ranges').dropConstraint('exception_ranges_pkey').execute()
  // The older release records a range once, not once per window.
  await sql`
    delete from exception_ranges a using exception_ranges b
    where a.kafka_partition = b.kafka_partition and a.range_from = b.range_from and a.window_start > b.window_start`.execute(
    db,
  )
  for (const column of ['window_start', 'records', 'rejected'])
    await db.schema.alterTable('exception_ranges').dropColumn(column).execute()
  await db.schema
    .alterTable('exception_ranges')
    .addPrimaryKeyConstraint('exception_ranges_pkey', ['kafka_partition', 'range_from'])
    .execute()
  for (const table of ['staged_deltas', 'window_books']) await db.schema.dropTable(table).execute()
  await moveOwner(db, 'pipeline_owner', 'pipeline')
}

/**
 * Renames the owner's table, so that an older release finds no owner and writes nothing. It would not record exceptions,
 * which now travel with windows, and does not know staged counts.
 */
async function moveOwner(db: Kysely<unknown>, from: string, to: string): Promise<void> {
  await db.schema
    .createTable(to)
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
  await sql`insert into ${sql.table(to)} select * from ${sql.table(from)}`.execute(db)
  await db.schema.dropTable(from).execute()
}
