-- Takes the Spark job's rows over, as far as they are older than this pipeline's first window. Its table is expected as
-- spark.aggregated_web_traffic (see docs/moving-from-spark.md). May be repeated: a window that has rows is left alone.
--
--   psql -v ON_ERROR_STOP=1 -d web_traffic -f ddl/spark-import.sql
--
-- Its copies of a row are taken once, its rows of nulls (records that did not parse) not at all, and hosts and
-- referrers as they are counted here. It knew no countries: aggregated_web_traffic_by_country begins with this pipeline.

-- Of the Spark session, where its columns are timestamps without a time zone.
set timezone = 'UTC';

-- The partitions of the months that it has.
select create_partitions(month) from (
  select distinct date_trunc('month', window_start::timestamptz, 'UTC') as month from spark.aggregated_web_traffic
  where window_start is not null
) months;

with
  once as (
    select window_start::timestamptz as window_start, window_end::timestamptz as window_end, host, referrer,
      max(num_hits) as hits
    from spark.aggregated_web_traffic
    where window_start is not null and host is not null
    group by 1, 2, 3, 4
  )
insert into aggregated_web_traffic (window_start, window_end, host, referrer, num_hits)
select window_start, window_end, lower(regexp_replace(host, ':\d*$', '')) as host,
  case when referrer = '-' then '' else coalesce(referrer, '') end as referrer, sum(hits)
from once
where window_start < coalesce((select min(window_start) from window_results), 'infinity')
  and not exists (select from aggregated_web_traffic known where known.window_start = once.window_start)
group by 1, 2, 3, 4;
