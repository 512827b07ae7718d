import { expect } from '@jest/globals'
import type { Db } from '../../src/postgres/database'
import { byGroup, differences, totalOf, type Reference } from '../../src/chaos/reference'

/** Every table of counts, row by row, against an independent count. */
export async function expectCounts(db: Db, reference: Reference): Promise<void> {
  const hits = await db.selectFrom('aggregated_web_traffic_by_country').selectAll().execute()
  const late = await db.selectFrom('late_web_traffic').selectAll().execute()
  const rejected = await db.selectFrom('rejected_counts').select('records').execute()
  expect(differences(byGroup(hits), reference.hits)).toEqual([])
  expect(hits).toHaveLength(reference.hits.size)
  expect(differences(byGroup(late), reference.late)).toEqual([])
  expect(late).toHaveLength(reference.late.size)
  expect(rejected.reduce((sum, { records }) => sum + records, 0)).toBe(reference.rejected)
  const windows = await db.selectFrom('traffic_windows').select(['window_start', 'num_hits']).execute()
  const byWindow = new Map(windows.map(row => [row.window_start.toISOString(), Number(row.num_hits)]))
  expect(byWindow).toEqual(hitsByWindow(reference))
  const both = await db
    .selectFrom('aggregated_web_traffic')
    .select(db.fn.sum('num_hits').as('hits'))
    .executeTakeFirst()
  expect(Number(both?.hits)).toBe(totalOf(reference.hits))
}

function hitsByWindow({ hits }: Reference): Map<string, number> {
  const result = new Map<string, number>()
  for (const [key, count] of hits) {
    const start = key.split('|', 1)[0]!
    result.set(start, (result.get(start) ?? 0) + count)
  }
  return result
}
