-- Compares the results with those of the Spark job that ran beside this pipeline, window by window. Its table is
-- expected as spark.aggregated_web_traffic (see docs/moving-from-spark.md). Prints the windows that differ; none, and
-- the two agree.
--
--   psql -d web_traffic -f ddl/spark-compare.sql
--
-- Spark's copies of a row (a crash between its write and its checkpoint) are counted once, and its hosts and referrers
-- as they are counted here: in small letters, without a port, and empty where there is none.

-- Of the Spark session, where its columns are timestamps without a time zone.
set timezone = 'UTC';

with
  once as (
    select window_start::timestamptz as window_start, host, referrer, max(num_hits) as hits, count(*) as copies
    from spark.aggregated_web_traffic
    where window_start is not null and host is not null
    group by 1, 2, 3
  ),
  theirs as (
    select window_start, lower(regexp_replace(host, ':\d*$', '')) as host,
      case when referrer = '-' then '' else coalesce(referrer, '') end as referrer,
      sum(hits) as hits, max(copies) as copies
    from once
    group by 1, 2, 3
  ),
  ours as (
    select window_start, host, referrer, sum(num_hits) as hits from aggregated_web_traffic group by 1, 2, 3
  ),
  both_ran as (
    select greatest((select min(window_start) from ours), (select min(window_start) from theirs)) as first,
      least((select max(window_start) from ours), (select max(window_start) from theirs)) as last
  ),
  compared as (
    select window_start, sum(theirs.hits)::bigint as spark_hits, sum(ours.hits)::bigint as hits,
      count(*) filter (where theirs.hits is distinct from ours.hits) as groups_that_differ,
      max(theirs.copies) as spark_copies
    from theirs full join ours using (window_start, host, referrer)
    group by window_start
  )
select window_start, spark_hits, hits,
  (select sum(num_hits) from late_web_traffic late where late.window_start = compared.window_start) as late_hits,
  groups_that_differ, spark_copies
from compared cross join both_ran
where window_start between first and last and groups_that_differ > 0
order by window_start;
