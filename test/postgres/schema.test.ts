import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { Migrator, NO_MIGRATIONS } from 'kysely'
import type { PoolClient } from 'pg'
import type { Db } from '../../src/postgres/database'
import { migrate } from '../../src/postgres/migrate'
import { migrations } from '../../src/postgres/migrations'
import { recordExceptions } from '../../src/postgres/record-exceptions'
import { T0, TestDatabase, WINDOW } from './support'

const INIT = readFileSync(join(__dirname, '..', '..', 'ddl', 'init.sql'), 'utf8')

/** The schema `public` according to the catalogs: each object by its definition in SQL. */
const CATALOGS = {
  relations: `
    select c.relname as name, c.relkind as kind, c.relpersistence as persistence, c.reloptions as options,
      c.relacl::text as privileges, obj_description(c.oid, 'pg_class') as comment,
      pg_get_partkeydef(c.oid) as partitioned_by
    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind not in ('i', 'I') order by 1`,
  columns: `
    select c.relname as relation,
      row_number() over (partition by c.oid order by a.attnum) as position, a.attname as name,
      format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
      pg_get_expr(d.adbin, d.adrelid) as default, a.attidentity as identity, a.attgenerated as generated,
      a.attcollation::regcollation::text as collation, col_description(c.oid, a.attnum) as comment
    from pg_attribute a
      join pg_class c on c.oid = a.attrelid
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where c.relnamespace = 'public'::regnamespace and c.relkind not in ('i', 'I') and a.attnum > 0 and not a.attisdropped
    order by 1, 2`,
  constraints: `
    select conrelid::regclass::text as relation, conname as name, contype as kind,
      pg_get_constraintdef(oid) as definition
    from pg_constraint where connamespace = 'public'::regnamespace order by 1, 2`,
  indexes: `
    select indrelid::regclass::text as relation, pg_get_indexdef(indexrelid) as definition,
      indisunique as unique, indisvalid as valid
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'public'::regnamespace order by 1, 2`,
  views: `
    select viewname as name, definition from pg_views where schemaname = 'public' order by 1`,
  routines: `
    select proname as name, pg_get_functiondef(oid) as definition, proacl::text as privileges
    from pg_proc where pronamespace = 'public'::regnamespace and prokind in ('f', 'p') order by 1`,
  triggers: `
    select tgrelid::regclass::text as relation, pg_get_triggerdef(oid) as definition
    from pg_trigger where not tgisinternal order by 1, 2`,
}

async function schemaOf({ pool }: TestDatabase, connection?: PoolClient): Promise<Record<string, object[]>> {
  const statements = {
    ...CATALOGS,
    migrations: 'select name from kysely_migration order by name',
    lock: 'select id, is_locked from kysely_migration_lock',
  }
  const schema: Record<string, object[]> = {}
  for (const [kind, statement] of Object.entries(statements))
    schema[kind] = (await (connection ?? pool).query<object>(statement)).rows
  return schema
}

const migratorOf = (db: Db) =>
  new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } })

describe('ddl/init.sql', () => {
  let migrated: TestDatabase
  let plain: TestDatabase

  beforeAll(async () => {
    ;[migrated, plain] = await Promise.all([TestDatabase.migrated(), TestDatabase.empty()])
    await plain.pool.query(INIT)
  })

  afterAll(async () => {
    await migrated.drop()
    await plain.drop()
  })

  test('creates the same schema as the migrations', async () => {
    const wanted = await schemaOf(migrated)
    expect(await schemaOf(plain)).toEqual(wanted)
    expect(wanted.migrations).toEqual(Object.keys(migrations).map(name => ({ name })))
  })

  test('creates everything that the code uses, so that the comparison is not empty', async () => {
    const { relations, columns, constraints, indexes, views, routines, triggers } = await schemaOf(plain)
    expect(relations).toHaveLength(18)
    expect(columns!.length).toBeGreaterThan(60)
    expect(constraints!.length).toBeGreaterThanOrEqual(10)
    expect(indexes!.length).toBeGreaterThan(8)
    expect(views).toHaveLength(2)
    expect(routines).toHaveLength(4)
    expect(triggers).toHaveLength(8)
  })

  test('leaves no migration pending', async () => {
    expect(await migrate(plain.db)).toEqual([])
    expect(await schemaOf(plain)).toEqual(await schemaOf(migrated))
  })

  test('records the migrations as Kysely does, at an ISO 8601 time', async () => {
    for (const database of [migrated, plain]) {
      const [row] = await database.rows<{ timestamp: string }>('select timestamp from kysely_migration')
      expect(new Date(row!.timestamp).toISOString()).toBe(row!.timestamp)
      expect(Math.abs(Date.parse(row!.timestamp) - Date.now())).toBeLessThan(60_000)
    }
  })

  test('is applied in full or not at all', async () => {
    const database = await TestDatabase.empty()
    try {
      await database.pool.query('create view traffic_windows as select 1')
      await expect(database.pool.query(INIT)).rejects.toThrow('"traffic_windows" already exists')
      expect(await database.rows(`select tablename from pg_tables where schemaname = 'public'`)).toEqual([])
    } finally {
      await database.drop()
    }
  })
})

describe('the migrations', () => {
  let database: TestDatabase

  beforeAll(async () => {
    database = await TestDatabase.migrated()
  })

  afterAll(async () => {
    await database.drop()
  })

  test('that are run again find nothing to do', async () => {
    expect(await migrate(database.db)).toEqual([])
  })

  test('that are undone leave only the tables of Kysely, and create the same schema when run again', async () => {
    const before = await schemaOf(database)
    const undone = await migratorOf(database.db).migrateTo(NO_MIGRATIONS)
    expect(undone.error).toBeUndefined()
    const left = await database.rows<{ relname: string }>(
      `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind <> 'i' order by 1`,
    )
    expect(left.map(({ relname }) => relname)).toEqual(['kysely_migration', 'kysely_migration_lock'])
    expect(await migrate(database.db)).toEqual(Object.keys(migrations))
    expect(await schemaOf(database)).toEqual(before)
  })

  test('that are undone to before the books keep what was recorded, and do not record it twice when run again', async () => {
    const other = await TestDatabase.migrated()
    try {
      const range = { partition: 0, from: 10, late: [], samples: [] }
      const record = (window: number) =>
        recordExceptions(other.db, 'events', WINDOW, { ...range, window, rejected: { invalid_json: 1 } })
      await record(T0)
      await record(T0 + WINDOW)
      const undone = await migratorOf(other.db).migrateTo('0004-partitions')
      expect(undone.error).toBeUndefined()
      expect(await other.rows('select * from exception_ranges')).toEqual([
        { kafka_partition: 0, range_from: '10' },
      ])
      expect(await migrate(other.db)).toEqual(['0005-books', '0006-repair', '0007-comments'])
      expect(await record(T0)).toBe(false)
      expect(await record(T0 + WINDOW)).toBe(false)
      expect(await other.rows('select records from rejected_counts')).toEqual([{ records: '2' }])
    } finally {
      await other.drop()
    }
  })

  test('that several processes run at once run once', async () => {
    const fresh = await TestDatabase.empty()
    try {
      const ran = await Promise.all(Array.from({ length: 4 }, () => migrate(fresh.db)))
      expect(ran.flat()).toEqual(Object.keys(migrations))
      expect(await schemaOf(fresh)).toEqual(await schemaOf(database))
    } finally {
      await fresh.drop()
    }
  })

  test.each([
    ['a column more', 'columns', 'alter table late_deltas add column note text'],
    ['a column less', 'columns', 'alter table rejected_events drop column rejected_at'],
    ['another type', 'columns', 'alter table exception_ranges alter column kafka_partition type bigint'],
    ['a default', 'columns', `alter table pipeline_owner alter column created_at set default 'epoch'`],
    ['a column that may be null', 'columns', 'alter table late_deltas alter column host drop not null'],
    [
      'a missing constraint',
      'constraints',
      'alter table window_results drop constraint window_results_status_check',
    ],
    ['an index less', 'indexes', 'drop index late_deltas_window'],
    [
      'an index on other columns',
      'indexes',
      'drop index late_deltas_window; create index late_deltas_window on late_deltas (window_end)',
    ],
    [
      'another view of the same columns',
      'views',
      `create or replace view late_web_traffic as
        select window_start, window_end, host, referrer, country, num_hits, cause from late_deltas`,
    ],
    [
      'a table that is not partitioned',
      'relations',
      `drop table aggregated_web_traffic;
        create table aggregated_web_traffic (window_start timestamptz not null, window_end timestamptz not null,
          host text not null, referrer text not null, num_hits bigint not null)`,
    ],
    ['a trigger less', 'triggers', 'drop trigger keep_rollups_delete on aggregated_web_traffic'],
    ['a function that everybody may run', 'routines', 'grant execute on function drop_partitions to public'],
    ['another comment', 'columns', `comment on column late_web_traffic.cause is 'why'`],
    ['a table more', 'relations', 'create table more ()'],
    ['a migration more', 'migrations', `insert into kysely_migration values ('0000-other', '')`],
  ])('differ from a schema with %s, and the comparison notices', async (_, kind, change) => {
    const before = await schemaOf(database)
    const connection = await database.pool.connect()
    try {
      await connection.query(`begin; ${change}`)
      expect((await schemaOf(database, connection))[kind]).not.toEqual(before[kind])
    } finally {
      await connection.query('rollback')
      connection.release()
    }
    expect(await schemaOf(database)).toEqual(before)
  })
})
