import { sql, type Kysely } from 'kysely'

/** The tables of counts: the column that their rollups count by, and their other columns. */
const TABLES = [
  { table: 'aggregated_web_traffic', by: 'host', columns: ['host', 'referrer'] },
  { table: 'aggregated_web_traffic_by_country', by: 'country', columns: ['host', 'referrer', 'country'] },
] as const

type Counts = (typeof TABLES)[number]

/**
 * Partitions both tables of counts by month and moves their rows; readers and writers wait meanwhile. Adds rollups of
 * hits by host and by country, for queries over long ranges.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await lockOut(db)
  await createRollups(db)
  await createPastRetention(db)
  for (const counts of TABLES) {
    await setAside(db, counts)
    await createCounts(db, counts, 'partition by range (window_start)')
  }
  await createPartitionFunctions(db)
  await createKeeper(db)
  for (const counts of TABLES) {
    const months = sql`select distinct date_trunc('month', window_start, 'UTC') as at from ${aside(counts)}`
    await sql`select create_partitions(at) from (${months}) months`.execute(db)
    await takeBack(db, counts)
    await createIndex(db, counts)
    await rollUp(db, counts)
    await createTriggers(db, counts)
  }
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await lockOut(db)
  for (const counts of TABLES) {
    await setAside(db, counts)
    await createCounts(db, counts, '')
    await takeBack(db, counts)
    await createIndex(db, counts)
  }
  await sql`drop function keep_rollups, create_partitions, drop_partitions, month_number`.execute(db)
  for (const table of ['traffic_rollups', 'sealed_periods', 'past_retention'])
    await db.schema.dropTable(table).execute()
}

/**
 * A writer of counts locks its window's row first, so locking that table first lets current writers finish and makes
 * others wait there, without a deadlock between the two tables of counts.
 */
async function lockOut(db: Kysely<unknown>): Promise<void> {
  await sql`lock table window_results in exclusive mode`.execute(db)
  for (const { table } of [...TABLES].reverse())
    await sql`lock table ${sql.table(table)} in access exclusive mode`.execute(db)
  await sql`select set_config('work_mem', '64MB', true), set_config('maintenance_work_mem', '256MB', true)`.execute(
    db,
  )
}

async function createRollups(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table traffic_rollups (
      period text not null check (period in ('window', 'hour', 'day', 'month')),
      period_start timestamptz not null,
      dimension text not null check (dimension in ('host', 'referrer', 'country')),
      host text not null,
      name text not null,
      num_hits bigint not null
    ) partition by range (period_start)`.execute(db)
  await sql`
    create index traffic_rollups_question on traffic_rollups (period, dimension, host, period_start)`.execute(
    db,
  )
  await sql`
    create index traffic_rollups_each_host on traffic_rollups (period, dimension, period_start)
      where host <> ''`.execute(db)
  await sql`
    create table sealed_periods (
      period text not null check (period in ('hour', 'day', 'month')),
      period_start timestamptz not null,
      constraint sealed_periods_pkey primary key (period, period_start)
    )`.execute(db)
}

async function createPastRetention(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table past_retention (
      singleton boolean default true primary key check (singleton),
      dropped_before timestamptz not null,
      late_hits bigint not null
    )`.execute(db)
}

const aside = ({ table }: Counts) => sql.table(`${table}_aside`)

async function setAside(db: Kysely<unknown>, counts: Counts): Promise<void> {
  await sql`alter table ${sql.table(counts.table)} rename to ${aside(counts)}`.execute(db)
  // Frees the name for the new table's index.
  await db.schema.dropIndex(`${counts.table}_window_host`).execute()
}

async function createCounts(
  db: Kysely<unknown>,
  { table, columns }: Counts,
  partitioning: string,
): Promise<void> {
  await sql`
    create table ${sql.table(table)} (
      window_start timestamptz not null,
      window_end timestamptz not null,
      ${sql.raw(columns.map(column => `${column} text not null,`).join(' '))}
      num_hits bigint not null
    ) ${sql.raw(partitioning)}`.execute(db)
}

async function takeBack(db: Kysely<unknown>, counts: Counts): Promise<void> {
  const columns = sql.raw(['window_start', 'window_end', ...counts.columns, 'num_hits'].join(', '))
  await sql`
    insert into ${sql.table(counts.table)} (${columns}) select ${columns} from ${aside(counts)}`.execute(db)
  await sql`drop table ${aside(counts)}`.execute(db)
}

async function createIndex(db: Kysely<unknown>, { table }: Counts): Promise<void> {
  await db.schema.createIndex(`${table}_window_host`).on(table).columns(['window_start', 'host']).execute()
}

async function rollUp(db: Kysely<unknown>, { table, by }: Counts): Promise<void> {
  await sql`
    insert into traffic_rollups (period, period_start, dimension, host, name, num_hits)
    select 'window', window_start, ${by}::text, '', ${sql.ref(by)}, sum(num_hits)
    from ${sql.table(table)} group by window_start, ${sql.ref(by)} order by window_start`.execute(db)
}

async function createTriggers(db: Kysely<unknown>, { table, by }: Counts): Promise<void> {
  const on = sql.table(table)
  const run = sql`for each statement execute function keep_rollups(${sql.lit(by)})`
  await sql`create trigger keep_rollups_insert after insert on ${on} referencing new table as added ${run}`.execute(
    db,
  )
  await sql`
    create trigger keep_rollups_update after update on ${on}
      referencing old table as removed new table as added ${run}`.execute(db)
  await sql`create trigger keep_rollups_delete after delete on ${on} referencing old table as removed ${run}`.execute(
    db,
  )
  await sql`create trigger keep_rollups_truncate after truncate on ${on} ${run}`.execute(db)
}

/** These functions run with their owner's rights, so that workers need not own the tables. */
async function createPartitionFunctions(db: Kysely<unknown>): Promise<void> {
  await sql`
create function month_number(at timestamptz) returns integer language sql immutable parallel safe as $$
  select (extract(year from at at time zone 'UTC') * 12 + extract(month from at at time zone 'UTC'))::integer
$$`.execute(db)
  await sql`
create function create_partitions(at timestamptz) returns void language plpgsql security definer as $$
declare
  first timestamptz := date_trunc('month', at, 'UTC');
  next timestamptz := date_trunc('month', first + interval '32 days', 'UTC');
  suffix text := to_char(first at time zone 'UTC', '_YYYY_MM');
  parent text;
begin
  perform pg_advisory_xact_lock_shared(779134, month_number(first));
  -- By the catalog, of this moment: what a session has cached of names is not brought up to date by such a lock.
  if exists (select from pg_class where relname = 'traffic_rollups' || suffix
    and relnamespace = current_schema()::regnamespace) then return; end if;
  lock table traffic_rollups in share update exclusive mode;
  if exists (select from pg_class where relname = 'traffic_rollups' || suffix
    and relnamespace = current_schema()::regnamespace) then return; end if;
  foreach parent in array array['aggregated_web_traffic', 'aggregated_web_traffic_by_country', 'traffic_rollups'] loop
    -- Attached, since "partition of" would wait for all readers of the parent, and have everybody else wait behind.
    execute format('create table %I (like %I including constraints)', parent || suffix, parent);
    execute format('alter table %I attach partition %I for values from (%L) to (%L)',
      parent, parent || suffix, first, next);
  end loop;
end $$`.execute(db)
  await sql`
create function drop_partitions(at timestamptz) returns void language plpgsql security definer as $$
declare
  suffix text := to_char(date_trunc('month', at, 'UTC') at time zone 'UTC', '_YYYY_MM');
  parent text;
begin
  perform pg_advisory_xact_lock(779134, month_number(at));
  foreach parent in array array['aggregated_web_traffic', 'aggregated_web_traffic_by_country', 'traffic_rollups'] loop
    execute format('drop table if exists %I', parent || suffix);
  end loop;
end $$`.execute(db)
  await sql`
do $$ begin
  execute format('alter function create_partitions(timestamptz) set search_path = %I, pg_temp', current_schema());
  execute format('alter function drop_partitions(timestamptz) set search_path = %I, pg_temp', current_schema());
end $$`.execute(db)
  await sql`revoke execute on function create_partitions(timestamptz), drop_partitions(timestamptz) from public`.execute(
    db,
  )
}

async function createKeeper(db: Kysely<unknown>): Promise<void> {
  await sql`
create function keep_rollups() returns trigger language plpgsql as $$
declare
  dimension_of text := tg_argv[0];
  starts timestamptz[];
  at timestamptz;
begin
  if tg_op = 'TRUNCATE' then
    delete from sealed_periods;
    delete from traffic_rollups where dimension = dimension_of;
    return null;
  end if;
  if tg_op = 'INSERT' then
    execute format('with kept as (
        insert into traffic_rollups (period, period_start, dimension, host, name, num_hits)
        select ''window'', window_start, %1$L, '''', %1$I, sum(num_hits) from added group by window_start, %1$I
        returning period_start)
      select array_agg(distinct period_start) from kept', dimension_of) into starts;
  elsif tg_op = 'DELETE' then
    select array_agg(window_start) into starts from (select distinct window_start from removed) w;
  else
    select array_agg(window_start) into starts
      from (select window_start from removed union select window_start from added) w;
  end if;
  if starts is null then return null; end if;
  perform pg_advisory_xact_lock_shared(779134, month)
    from (select distinct month_number(start) as month from unnest(starts) start order by month) m;
  delete from sealed_periods where (period, period_start) in (
    select length, date_trunc(length, start, 'UTC')
    from unnest(starts) start, unnest(array['hour', 'day', 'month']) length);
  if tg_op = 'INSERT' then return null; end if;
  foreach at in array starts loop
    execute format('delete from traffic_rollups
      where period = ''window'' and dimension = %1$L and host = '''' and period_start = %2$L', dimension_of, at);
    execute format('insert into traffic_rollups (period, period_start, dimension, host, name, num_hits)
      select ''window'', %2$L::timestamptz, %1$L, '''', %1$I, sum(num_hits) from %3$s where window_start = %2$L
      group by %1$I', dimension_of, at, tg_relid::regclass);
  end loop;
  return null;
end $$`.execute(db)
}
