import { expect } from '@jest/globals'
import type { Db } from '../../src/postgres/database'
import { differences, fold, type Reference } from '../../trials/oracle/reference'
import { readResults } from '../../trials/oracle/results'

/** Every table of counts, row by row, against an independent count. */
export async function expectCounts(db: Db, reference: Reference): Promise<void> {
  const found = await readResults(db)
  expect(differences(found.hits, reference.hits)).toEqual([])
  expect(differences(found.hitsAnyCountry, fold([reference.hits], 3))).toEqual([])
  expect(differences(found.windowHits, fold([reference.hits], 1))).toEqual([])
  expect(differences(found.late, reference.late)).toEqual([])
  expect(found.rejected).toBe(reference.rejected)
}
