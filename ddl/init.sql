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
create table pipeline (
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
  partitions jsonb not null
);

-- The result: hits by window, host and referrer, of published windows only. A window appears in one transaction.
-- No unique constraint covers the referrer: it may be longer than what an index entry can hold.
create table aggregated_web_traffic (
  window_start timestamptz not null,
  window_end timestamptz not null,
  host text not null,
  referrer text not null,
  num_hits bigint not null
);

create index aggregated_web_traffic_window_host on aggregated_web_traffic (window_start, host);

-- The same by country as well (ISO 3166-1 alpha-2, ?? where unknown); it sums up to aggregated_web_traffic.
create table aggregated_web_traffic_by_country (
  window_start timestamptz not null,
  window_end timestamptz not null,
  host text not null,
  referrer text not null,
  country text not null,
  num_hits bigint not null
);

create index aggregated_web_traffic_by_country_window_host on aggregated_web_traffic_by_country (window_start, host);

-- Parts of windows too large for one message, from when they were counted until the window is closed. Those of a window
-- that was closed before are emptied instead of deleted.
create table staged_pieces (
  window_start timestamptz not null,
  chain text not null,
  number integer not null,
  counts json not null,
  constraint staged_pieces_pkey primary key (window_start, chain, number)
);

-- Which ranges of which partition have had their late and rejected records recorded: each once, whatever is
-- repeated. Never delete from it while the pipeline lives.
create table exception_ranges (
  kafka_partition integer not null,
  range_from bigint not null,
  constraint exception_ranges_pkey primary key (kafka_partition, range_from)
);

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
  brought_in integer
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
    w.groups, w.revision, w.closed_at, w.partitions
  from window_results w;

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
  ('0002-replay', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));

insert into kysely_migration_lock (id, is_locked) values ('migration_lock', 0);

commit;
