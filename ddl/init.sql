-- The schema of one pipeline, for those who run plain SQL instead of `web-traffic migrate`:
--
--   createdb web_traffic
--   psql -v ON_ERROR_STOP=1 -d web_traffic -f ddl/init.sql
--
-- It is made whole or not at all, in the first schema of the search path, and needs no extension. It is what the
-- migrations in src/postgres/migrations make, and records them as done, so that `web-traffic migrate` afterwards
-- finds nothing to do and later versions of the schema can follow. All times are UTC instants; all counts are
-- absolute. What workers and readers may do is in ddl/roles.sql.

begin;

-- Who owns this schema: one row, made by `web-traffic start`. Workers of any other pipeline are refused, since
-- their counts would be mixed with these.
create table pipeline_owner (
  singleton boolean default true primary key check (singleton),
  kafka_group text not null,
  topic text not null,
  namespace text not null,
  created_at timestamptz default now() not null
);

-- One row a window with a result. The row is the lock under which the window is written, its revision only goes
-- up, and `partitions` says what was applied of each Kafka partition. Read it through the view traffic_windows.
create table window_results (
  window_start timestamptz primary key,
  window_end timestamptz not null,
  status text not null check (status in ('published', 'closed')),
  num_hits bigint not null,
  groups bigint not null,
  revision integer not null,
  closed_at timestamptz not null,
  partitions jsonb not null,
  -- Hits under ?? only because their look-up failed and was not waited for; a replay looks them up again.
  unlocated bigint default 0 not null
);

create index window_results_unlocated on window_results (window_start) where unlocated > 0;

-- The result: hits by window, host and referrer, of published windows only. A window appears in one transaction.
-- No unique constraint covers the referrer: it may be longer than what an index entry can hold. Partitioned by month
-- (UTC); a window's partition is made by create_partitions when it is written, and sooner by `web-traffic maintain`.
create table aggregated_web_traffic (
  window_start timestamptz not null,
  window_end timestamptz not null,
  host text not null,
  referrer text not null,
  num_hits bigint not null
) partition by range (window_start);

create index aggregated_web_traffic_window_host on aggregated_web_traffic (window_start, host);

-- The same by country as well (ISO 3166-1 alpha-2, ?? where unknown); it sums up to aggregated_web_traffic.
create table aggregated_web_traffic_by_country (
  window_start timestamptz not null,
  window_end timestamptz not null,
  host text not null,
  referrer text not null,
  country text not null,
  num_hits bigint not null
) partition by range (window_start);

create index aggregated_web_traffic_by_country_window_host on aggregated_web_traffic_by_country (window_start, host);

-- Hits of whole periods, so that a question over a year does not read its rows. Those of each window, by host and by
-- country, are kept by triggers, whatever writes to the tables above. Those of hours, days and months are made by
-- `web-traffic maintain`, and hold where sealed_periods has the period: not to be read without looking there. The host
-- is empty for all hosts together.
create table traffic_rollups (
  period text not null check (period in ('window', 'hour', 'day', 'month')),
  period_start timestamptz not null,
  dimension text not null check (dimension in ('host', 'referrer', 'country')),
  host text not null,
  name text not null,
  num_hits bigint not null
) partition by range (period_start);

create index traffic_rollups_question on traffic_rollups (period, dimension, host, period_start);

create index traffic_rollups_each_host on traffic_rollups (period, dimension, period_start) where host <> '';

-- The periods of which traffic_rollups is what the tables of counts add up to. Whatever changes a window's rows takes
-- its periods out in the same transaction.
create table sealed_periods (
  period text not null check (period in ('hour', 'day', 'month')),
  period_start timestamptz not null,
  constraint sealed_periods_pkey primary key (period, period_start)
);

-- Up to where counts were dropped because they were older than RETENTION, and how many late events among them, so that
-- records still add up. No row before the first time.
create table past_retention (
  singleton boolean default true primary key check (singleton),
  dropped_before timestamptz not null,
  late_hits bigint not null
);

-- Parts of windows too large for one message, from when they were counted until the window is closed. Those of a window
-- that was closed before are emptied instead of deleted.
create table staged_pieces (
  window_start timestamptz not null,
  chain text not null,
  number integer not null,
  counts json not null,
  constraint staged_pieces_pkey primary key (window_start, chain, number)
);

-- Counts of one range for one window that are too large for a message, from when the range's poller stages them until
-- the window is closed.
create table staged_deltas (
  window_start timestamptz not null,
  kafka_partition integer not null,
  last_offset bigint not null,
  first_offset bigint not null,
  num_hits bigint not null,
  unlocated bigint not null,
  counts json not null,
  constraint staged_deltas_pkey primary key (window_start, kafka_partition, last_offset)
);

-- What the ledger announced for each window, as the window heard it when it was told to close. Hits and exceptions in
-- the other tables are held against it. A window that late events opened again has several books. One below 0 is what a
-- person has given up for good, by --accept-loss: its sums are negative.
create table window_books (
  window_start timestamptz not null,
  book bigint not null,
  num_hits bigint not null,
  exceptions bigint not null,
  constraint window_books_pkey primary key (window_start, book)
);

-- Which ranges of which partition have had their late and rejected records recorded, by the window that was the
-- partition's current one: each once, whatever is repeated. The window is -infinity where an older release recorded the
-- range. Never delete from it by hand while the pipeline lives.
create table exception_ranges (
  kafka_partition integer not null,
  range_from bigint not null,
  window_start timestamptz default '-infinity' not null,
  records bigint default 0 not null,
  rejected jsonb default '{}'::jsonb not null,
  -- Of a stretch that a repair has recorded, in place of all ranges of the window that begin in it.
  range_to bigint,
  constraint exception_ranges_pkey primary key (kafka_partition, range_from, window_start)
);

create index exception_ranges_window on exception_ranges (window_start) where window_start > '-infinity';

-- Events that were too late for their window, as they were recorded; read the view late_web_traffic.
-- Cause: `watermark`, late by the partition's own log; `closed`, woke an idle partition after the window closed.
create table late_deltas (
  kafka_partition integer not null,
  range_from bigint not null,
  window_start timestamptz not null,
  window_end timestamptz not null,
  host text not null,
  referrer text not null,
  country text not null,
  num_hits bigint not null,
  cause text not null check (cause in ('watermark', 'closed')),
  -- The revision by which a replay brought them into their window's result; they count as late no more.
  brought_in integer,
  -- The window that was the partition's current one where they were read; null where an older release recorded them.
  read_in timestamptz
);

create index late_deltas_window on late_deltas (window_start);

-- How many records were no usable event, by reason: exact.
create table rejected_counts (
  topic text not null,
  partition integer not null,
  reason text not null,
  records bigint not null,
  constraint rejected_counts_pkey primary key (topic, partition, reason)
);

-- Where to find rejected records in Kafka, and why each was rejected: the newest 10,000 of each partition and
-- reason. The payload stays in Kafka, since it may hold an address.
create table rejected_events (
  topic text not null,
  partition integer not null,
  kafka_offset bigint not null,
  reason text not null,
  rejected_at timestamptz default now() not null,
  -- When it was sent to the topic again, as it was or mended.
  republished_at timestamptz,
  constraint rejected_events_pkey primary key (topic, partition, kafka_offset)
);

create index rejected_events_reason on rejected_events (topic, partition, reason, kafka_offset);

-- Late events by window, host, referrer, country and cause.
create view late_web_traffic as
  select window_start, window_end, host, referrer, country, sum(num_hits)::bigint as num_hits, cause
  from late_deltas
  where brought_in is null
  group by window_start, window_end, host, referrer, country, cause;

-- The windows with a result: what they hold, what came too late for them, and which revision it is.
create view traffic_windows as
  select w.window_start, w.window_end, w.status, w.num_hits,
    coalesce((select sum(l.num_hits) from late_deltas l
      where l.window_start = w.window_start and l.brought_in is null), 0)::bigint as late_hits,
    w.groups, w.revision, w.closed_at, w.partitions, w.unlocated
  from window_results w;

-- The month of an instant as a number, which is what its lock is known by: held shared by whoever writes to a month,
-- and alone by whoever seals one of its periods or drops it.
create function month_number(at timestamptz) returns integer language sql immutable parallel safe as $$
  select (extract(year from at at time zone 'UTC') * 12 + extract(month from at at time zone 'UTC'))::integer
$$;

-- Makes the partitions of a month where they are missing. With its owner's rights: a worker need not own the tables.
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
end $$;

-- Drops the partitions of a month.
create function drop_partitions(at timestamptz) returns void language plpgsql security definer as $$
declare
  suffix text := to_char(date_trunc('month', at, 'UTC') at time zone 'UTC', '_YYYY_MM');
  parent text;
begin
  perform pg_advisory_xact_lock(779134, month_number(at));
  foreach parent in array array['aggregated_web_traffic', 'aggregated_web_traffic_by_country', 'traffic_rollups'] loop
    execute format('drop table if exists %I', parent || suffix);
  end loop;
end $$;

do $$ begin
  execute format('alter function create_partitions(timestamptz) set search_path = %I, pg_temp', current_schema());
  execute format('alter function drop_partitions(timestamptz) set search_path = %I, pg_temp', current_schema());
end $$;

revoke execute on function create_partitions(timestamptz), drop_partitions(timestamptz) from public;

-- Keeps the hits of each window by host (or by country: its argument), and takes out what is sealed of its periods.
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
end $$;

create trigger keep_rollups_insert after insert on aggregated_web_traffic
  referencing new table as added for each statement execute function keep_rollups('host');

create trigger keep_rollups_update after update on aggregated_web_traffic
  referencing old table as removed new table as added for each statement execute function keep_rollups('host');

create trigger keep_rollups_delete after delete on aggregated_web_traffic
  referencing old table as removed for each statement execute function keep_rollups('host');

create trigger keep_rollups_truncate after truncate on aggregated_web_traffic
  for each statement execute function keep_rollups('host');

create trigger keep_rollups_insert after insert on aggregated_web_traffic_by_country
  referencing new table as added for each statement execute function keep_rollups('country');

create trigger keep_rollups_update after update on aggregated_web_traffic_by_country
  referencing old table as removed new table as added for each statement execute function keep_rollups('country');

create trigger keep_rollups_delete after delete on aggregated_web_traffic_by_country
  referencing old table as removed for each statement execute function keep_rollups('country');

create trigger keep_rollups_truncate after truncate on aggregated_web_traffic_by_country
  for each statement execute function keep_rollups('country');

-- What readers see in psql and in docs/relations.md, which lists the relations that have a comment.
comment on table aggregated_web_traffic is 'Hits by window, host and referrer, for published windows only.';
comment on column aggregated_web_traffic.window_end is 'First instant after the window.';
comment on column aggregated_web_traffic.referrer is
  'Empty if the event has none; (other) for groups beyond MAX_GROUPS.';
comment on table aggregated_web_traffic_by_country is 'The same hits by country as well.';
comment on column aggregated_web_traffic_by_country.country is 'ISO 3166-1 alpha-2; ?? if unknown.';
comment on view late_web_traffic is 'Events that arrived too late for their window.';
comment on column late_web_traffic.cause is
  'watermark: behind the watermark of its partition. closed: not behind it, but the window had closed while the partition was idle.';
comment on table rejected_counts is 'Exact number of records that are not usable events.';
comment on table rejected_events is
  'Position of each rejected record in Kafka: the newest 10,000 per partition and reason.';
comment on column rejected_events.republished_at is 'When web-traffic rejected --republish sent it again.';
comment on view traffic_windows is 'One row per window with a result.';
comment on column traffic_windows.status is 'published while corrections may come, then closed.';
comment on column traffic_windows.late_hits is 'Late events of the window that are in no result.';
comment on column traffic_windows.groups is 'Distinct combinations of host, referrer and country.';
comment on column traffic_windows.revision is 'Increases with every correction, replay and repair.';
comment on column traffic_windows.partitions is 'The ranges of each Kafka partition that were counted.';
comment on column traffic_windows.unlocated is
  'Hits under ?? because their look-up failed; web-traffic replay --unlocated looks them up again.';

-- The book-keeping of Kysely, which runs the migrations: those above are done, and none is under way.
create table kysely_migration (
  name varchar(255) not null primary key,
  timestamp varchar(255) not null
);

create table kysely_migration_lock (
  id varchar(255) not null primary key,
  is_locked integer default 0 not null
);

insert into kysely_migration (name, timestamp)
values
  ('0001-initial', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
  ('0002-replay', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
  ('0003-repairs', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
  ('0004-partitions', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
  ('0005-books', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
  ('0006-repair', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
  ('0007-comments', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));

insert into kysely_migration_lock (id, is_locked) values ('migration_lock', 0);

commit;
