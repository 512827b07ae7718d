import type { Db } from '../../src/postgres/database'
import { storedTotals } from '../../src/postgres/totals'
import { byGroup, differences, fold, totalOf, type Reference } from './reference'

type Counts = Map<string, number>

export interface CompareOptions {
  /** MAX_GROUPS: of a window beyond it, only the sum of all its hits is compared. */
  maxGroups?: number
  /**
   * A partition was silent for long enough to let windows close early. Hits that arrived after their window had closed
   * are then late, so each group's hits and late hits are compared as one sum.
   */
  mayCloseEarly?: boolean
}

/**
 * Compares every table of counts with an independent count of the topic. Reads one window at a time, because all groups
 * would not fit in memory.
 *
 * @returns a line for each difference
 */
export async function compare(
  db: Db,
  reference: Reference,
  { maxGroups = Infinity, mayCloseEarly = false }: CompareOptions = {},
): Promise<string[]> {
  const lateRows = await db.selectFrom('late_web_traffic').selectAll().execute()
  const combined = mayCloseEarly && lateRows.some(({ cause }) => cause === 'closed')
  const late = byGroup(lateRows)
  const expected = byWindow(combined ? fold([reference.hits, reference.late]) : reference.hits)
  const lateByWindow = byWindow(late)
  const expectedLate = byWindow(reference.late)
  const windows = await db.selectFrom('traffic_windows').selectAll().execute()
  const results = new Map(windows.map(window => [window.window_start.toISOString(), window]))

  const problems: string[] = []
  for (const start of new Set([...expected.keys(), ...results.keys()])) {
    const right = expected.get(start) ?? NONE
    const result = results.get(start)
    // In a combined comparison a window may have late hits only, and then it has no result.
    if (!result && !combined) {
      problems.push(`the window ${start} is missing, with ${totalOf(right)} hits in ${right.size} groups`)
      continue
    }
    const { rows, problems: wrongRows } = await readWindow(db, start)
    problems.push(...wrongRows)
    const found = combined ? fold([rows, lateByWindow.get(start) ?? NONE]) : rows
    problems.push(...compareGroups(start, found, right, maxGroups))
    if (!result) continue
    problems.push(
      ...unequal(`traffic_windows.status of ${start}`, result.status, 'closed'),
      ...unequal(`traffic_windows.num_hits of ${start}`, result.num_hits, totalOf(rows)),
      ...unequal(`traffic_windows.groups of ${start}`, result.groups, rows.size),
    )
    if (combined) continue
    const lateHits = totalOf(expectedLate.get(start) ?? NONE)
    problems.push(...unequal(`traffic_windows.late_hits of ${start}`, result.late_hits, lateHits))
  }
  if (!combined) problems.push(...differences(late, reference.late).map(difference => `late: ${difference}`))
  return [...problems, ...(await compareTotals(db, reference, combined))]
}

const NONE: Counts = new Map()

/** The counts of a window with their countries, and where the table without countries differs from their sums. */
async function readWindow(db: Db, start: string): Promise<{ rows: Counts; problems: string[] }> {
  const read = (table: 'aggregated_web_traffic' | 'aggregated_web_traffic_by_country') =>
    db.selectFrom(table).selectAll().where('window_start', '=', new Date(start)).execute()
  const rows = byGroup(await read('aggregated_web_traffic_by_country'))
  const withoutCountry = differences(byGroup(await read('aggregated_web_traffic')), fold([rows], 3))
  return { rows, problems: withoutCountry.map(difference => `without country: ${difference}`) }
}

/** Whether a window has more groups than keep their name: 200 characters of host and referrer each, on average. */
export function isFolded(counts: Counts, maxGroups: number): boolean {
  let characters = 0
  for (const key of counts.keys()) characters += key.lastIndexOf('|') - key.indexOf('|') - 2
  return counts.size > maxGroups || characters > maxGroups * 200
}

function compareGroups(start: string, found: Counts, right: Counts, maxGroups: number): string[] {
  if (!isFolded(right, maxGroups)) return differences(found, right)
  const tooHigh = [...found]
    .filter(([key, hits]) => key.split('|')[2] !== '(other)' && hits > (right.get(key) ?? 0))
    .slice(0, 5)
    .map(([key, hits]) => `${key}: ${hits}, more than ${right.get(key)}`)
  return [...unequal(`hits of the window ${start}`, totalOf(found), totalOf(right)), ...tooHigh]
}

async function compareTotals(db: Db, reference: Reference, combined: boolean): Promise<string[]> {
  const stored = await storedTotals(db)
  const [hits, late] = [totalOf(reference.hits), totalOf(reference.late)]
  return [
    ...unequal('rejected', stored.rejected, reference.rejected),
    ...(combined
      ? unequal('hits and late', stored.hits + stored.late, hits + late)
      : [...unequal('hits', stored.hits, hits), ...unequal('late', stored.late, late)]),
  ]
}

function unequal(what: string, found: number | string, right: number | string): string[] {
  return found === right ? [] : [`${what}: ${found} instead of ${right}`]
}

export function byWindow(counts: Counts): Map<string, Counts> {
  const windows = new Map<string, Counts>()
  for (const [key, hits] of counts) {
    const start = key.slice(0, key.indexOf('|'))
    let window = windows.get(start)
    if (!window) windows.set(start, (window = new Map<string, number>()))
    window.set(key, hits)
  }
  return windows
}
