-- Two roles for the database of a pipeline, each with no more than it needs. Run it as the owner of the tables, who made
-- them by `web-traffic migrate` or ddl/init.sql, with the right to create roles; and again after each migrate, since
-- what a later version adds is granted to nobody else:
--
--   psql -v ON_ERROR_STOP=1 -d web_traffic -f ddl/roles.sql
--
-- Then give each login one of them (docs/security.md):
--
--   create role counting login password '…' in role web_traffic_writer;
--   create role looking login password '…' in role web_traffic_reader;
--
-- Neither owns anything, so neither can create, alter, drop or truncate: `web-traffic migrate` remains the owner's.

begin;

do $$
declare
  named text;
begin
  foreach named in array array['web_traffic_writer', 'web_traffic_reader'] loop
    if not exists (select from pg_roles where rolname = named) then
      execute format('create role %I nologin', named);
    end if;
  end loop;
  -- By default everyone may create temporary tables.
  execute format('revoke create, temporary on database %I from public', current_database());
end $$;

-- Before PostgreSQL 15 everyone may create tables in public.
revoke create on schema public from public;
grant usage on schema public to web_traffic_writer, web_traffic_reader;

-- Readers see results, late events and rejected records: the commands windows, late, rejected and dashboard, and your
-- reports. The dashboard also queries two of the tables behind the views, to use their indexes.
grant select on
  aggregated_web_traffic, aggregated_web_traffic_by_country, late_web_traffic, traffic_windows, rejected_counts,
  rejected_events, late_deltas, window_results, traffic_rollups, sealed_periods, past_retention
to web_traffic_reader;

-- Workers, and the commands start, doctor and rejected --republish.
grant select on late_web_traffic, traffic_windows, kysely_migration to web_traffic_writer;
-- The owner of the schema is recorded once and never changes.
grant select, insert on pipeline_owner to web_traffic_writer;
-- A window's row is locked and updated, and never deleted.
grant select, insert, update on window_results to web_traffic_writer;
-- A revision replaces the counts of the previous one.
grant select, insert, delete on aggregated_web_traffic, aggregated_web_traffic_by_country to web_traffic_writer;
grant select, insert, update, delete on staged_pieces to web_traffic_writer;
-- Staged deltas are used once or dropped. Books are never changed.
grant select, insert, delete on staged_deltas to web_traffic_writer;
grant select, insert on window_books to web_traffic_writer;
-- A repair replaces the ranges of its window that have late or rejected records.
grant select, insert, delete on exception_ranges to web_traffic_writer;
-- A replay marks the late events that it has counted as hits. Retention deletes late events with their month.
grant select, insert, delete on late_deltas to web_traffic_writer;
grant update (brought_in) on late_deltas to web_traffic_writer;
grant select, insert, update on rejected_counts to web_traffic_writer;
grant select, insert, delete on rejected_events to web_traffic_writer;
grant update (republished_at) on rejected_events to web_traffic_writer;
-- Totals follow the counts; months are made and dropped with the owner's rights.
grant select, insert, delete on traffic_rollups, sealed_periods to web_traffic_writer;
grant select, insert, update on past_retention to web_traffic_writer;
grant execute on function create_partitions(timestamptz), drop_partitions(timestamptz) to web_traffic_writer;

commit;
