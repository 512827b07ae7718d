import { sql, type Kysely } from 'kysely'

/** Comments on the relations that readers query; a target is written as in `comment on`. */
const COMMENTS = {
  'table aggregated_web_traffic': 'Hits by window, host and referrer, for published windows only.',
  'column aggregated_web_traffic.window_end': 'First instant after the window.',
  'column aggregated_web_traffic.referrer':
    'Empty if the event has none; (other) for groups beyond MAX_GROUPS.',
  'table aggregated_web_traffic_by_country': 'The same hits by country as well.',
  'column aggregated_web_traffic_by_country.country': 'ISO 3166-1 alpha-2; ?? if unknown.',
  'view late_web_traffic': 'Events that arrived too late for their window.',
  'column late_web_traffic.cause':
    'watermark: behind the watermark of its partition. closed: not behind it, but the window had closed while the partition was idle.',
  'table rejected_counts': 'Exact number of records that are not usable events.',
  'table rejected_events':
    'Position of each rejected record in Kafka: the newest 10,000 per partition and reason.',
  'column rejected_events.republished_at': 'When web-traffic rejected --republish sent it again.',
  'view traffic_windows': 'One row per window with a result.',
  'column traffic_windows.status': 'published while corrections may come, then closed.',
  'column traffic_windows.late_hits': 'Late events of the window that are in no result.',
  'column traffic_windows.groups': 'Distinct combinations of host, referrer and country.',
  'column traffic_windows.revision': 'Increases with every correction, replay and repair.',
  'column traffic_windows.partitions': 'The ranges of each Kafka partition that were counted.',
  'column traffic_windows.unlocated':
    'Hits under ?? because their look-up failed; web-traffic replay --unlocated looks them up again.',
}

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const [target, text] of Object.entries(COMMENTS))
    await sql`comment on ${sql.raw(target)} is ${sql.lit(text)}`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const target of Object.keys(COMMENTS)) await sql`comment on ${sql.raw(target)} is null`.execute(db)
}
