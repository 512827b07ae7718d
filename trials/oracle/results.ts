import type { Db } from '../../src/postgres/database'
import { byGroup, totalOf } from './reference'

/** The tables of counts, by the keys of `Reference`. */
export interface Results {
  hits: Map<string, number>
  hitsAnyCountry: Map<string, number>
  windowHits: Map<string, number>
  late: Map<string, number>
  closed: number
  rejected: number
}

export async function readResults(db: Db): Promise<Results> {
  const late = await db.selectFrom('late_web_traffic').selectAll().execute()
  const rejected = await db.selectFrom('rejected_counts').select('records').execute()
  const windows = await db.selectFrom('window_results').select(['window_start', 'num_hits']).execute()
  return {
    hits: byGroup(await db.selectFrom('aggregated_web_traffic_by_country').selectAll().execute()),
    hitsAnyCountry: byGroup(await db.selectFrom('aggregated_web_traffic').selectAll().execute()),
    windowHits: byGroup(windows),
    late: byGroup(late),
    closed: totalOf(byGroup(late.filter(({ cause }) => cause === 'closed'))),
    rejected: rejected.reduce((sum, { records }) => sum + records, 0),
  }
}
