import { expect } from '@jest/globals'
import type { Db } from '../../src/postgres/database'
import { byGroup, differences, fold, type Reference } from '../../trials/oracle/reference'

/** Compares every row of every table of counts with an independent count. */
export async function expectCounts(db: Db, reference: Reference): Promise<void> {
  const hits = byGroup(await db.selectFrom('aggregated_web_traffic_by_country').selectAll().execute())
  const hitsAnyCountry = byGroup(await db.selectFrom('aggregated_web_traffic').selectAll().execute())
  const windows = await db.selectFrom('window_results').select(['window_start', 'num_hits']).execute()
  const late = byGroup(await db.selectFrom('late_web_traffic').selectAll().execute())
  const rejected = await db.selectFrom('rejected_counts').select('records').execute()
  expect(differences(hits, reference.hits)).toEqual([])
  expect(differences(hitsAnyCountry, fold([reference.hits], 3))).toEqual([])
  expect(differences(byGroup(windows), fold([reference.hits], 1))).toEqual([])
  expect(differences(late, reference.late)).toEqual([])
  expect(rejected.reduce((sum, { records }) => sum + records, 0)).toBe(reference.rejected)
}
