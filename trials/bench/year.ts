import { sql, type RawBuilder } from 'kysely'
import type { Db } from '../../src/postgres/database'

const WINDOW = '5 minutes'
export const FIRST = '2025-01-01T00:00:00Z'
/** Windows of five minutes in a year. */
export const WINDOWS = 105_120
export const HOSTS = 50
const PAGES = 200
const COUNTRIES = [
  'US',
  'DE',
  'GB',
  'FR',
  'IN',
  'BR',
  'JP',
  'CA',
  'AU',
  'NL',
  'ES',
  'IT',
  'PL',
  'SE',
  'MX',
  '??',
]

export const hostName = (host: number) => `host-${host}.example`

/**
 * Fills the tables of counts with a year of windows, each with `groups` groups: 50 hosts by Zipf's law, with referrers
 * from 24 common sites and from 200 pages of the host itself. In each window a group has one country.
 */
export async function fillYear(db: Db, groups: number): Promise<void> {
  await sql`create unlogged table year_groups as
    select g, host, row_number() over (partition by host order by g)::int as slot
    from (select g, floor(power(${HOSTS}, g::float / ${groups}))::int - 1 as host
      from generate_series(0, ${groups}::int - 1) g) groups`.execute(db)
  const windows = sql`(select n, ${FIRST}::timestamptz + n * ${WINDOW}::interval as start
    from generate_series(0, ${WINDOWS}::int - 1) n) windows`
  const referrer = sql`case when slot = 1 then ''
    when slot < 48 and slot % 2 = 0 then 'https://site-' || slot || '.example/'
    else 'https://host-' || host || '.example/page/' || (slot * 7 + n) % ${PAGES}::int end`
  const country = sql`(${COUNTRIES}::text[])[1 + (g * 5 + n / 3) % ${COUNTRIES.length}::int]`
  const fill = (table: string, columns: string[], values: RawBuilder<unknown>) =>
    sql`
      insert into ${sql.table(table)} (window_start, window_end, num_hits, ${sql.join(columns.map(column => sql.ref(column)))})
      select start, start + ${WINDOW}::interval, 1 + (g * 13 + n) % 40 + 1000 / (g + 1), ${values}
      from ${windows}, year_groups order by n`.execute(db)
  const host = sql`'host-' || host || '.example'`
  await Promise.all([
    fill('aggregated_web_traffic', ['host', 'referrer'], sql`${host}, ${referrer}`),
    fill(
      'aggregated_web_traffic_by_country',
      ['host', 'referrer', 'country'],
      sql`${host}, ${referrer}, ${country}`,
    ),
  ])
  await sql`
    insert into window_results
      (window_start, window_end, status, num_hits, groups, revision, closed_at, partitions)
    select window_start, window_end, 'closed', sum(num_hits), count(*), 1, window_end,
      '[{"partition":0,"from":0,"basis":null,"last":1000}]'
    from aggregated_web_traffic group by 1, 2 order by 1`.execute(db)
  await sql`drop table year_groups`.execute(db)
}
