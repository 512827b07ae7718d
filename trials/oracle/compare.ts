import { storedTotals } from '../../src/postgres/totals'
import type { Db } from '../../src/postgres/database'
import { byGroup, differences, fold, totalOf, type Reference } from './reference'

export interface CompareOptions {
  /** MAX_GROUPS: of a window with more groups only the hits of all groups are compared. */
  maxGroups?: number
  /**
   * A partition was silent for long enough to let windows close early. A hit that came after its window had closed may
   * then be late, and each group's hits and late hits are compared together.
   */
  mayCloseEarly?: boolean
}

/**
 * Compares every table of counts with an independent count of the topic; returns what differs, one line each. It goes
 * window by window: all groups at once would not fit in memory.
 */
export async function compare(
  db: Db,
  reference: Reference,
  { maxGroups = Infinity, mayCloseEarly = false }: CompareOptions = {},
): Promise<string[]> {
  const lateRows = await db.selectFrom('late_web_traffic').selectAll().execute()
  const late = byGroup(lateRows)
  const closedEarly = lateRows.some(({ cause }) => cause === 'closed')
  const together = closedEarly && mayCloseEarly
  const expected = byWindow(together ? fold([reference.hits, reference.late]) : reference.hits)
  const lateByWindow = byWindow(late)
  const rightLateByWindow = byWindow(reference.late)
  const windows = await db.selectFrom('traffic_windows').selectAll().execute()
  const results = new Map(windows.map(window => [window.window_start.toISOString(), window]))

  const none = new Map<string, number>()
  const problems: string[] = []
  const differ = (what: string, found: number | string | undefined, right: number | string) => {
    if (found !== right) problems.push(`${what}: ${found} instead of ${right}`)
  }
  for (const start of new Set([...expected.keys(), ...results.keys()])) {
    const right = expected.get(start) ?? none
    const result = results.get(start)
    // A window whose every hit came late has no result.
    if (!result && !together) {
      problems.push(`the window ${start} is missing, with ${totalOf(right)} hits in ${right.size} groups`)
      continue
    }
    const where = ['window_start', '=', new Date(start)] as const
    const rows = byGroup(
      await db
        .selectFrom('aggregated_web_traffic_by_country')
        .selectAll()
        .where(...where)
        .execute(),
    )
    const anyCountry = byGroup(
      await db
        .selectFrom('aggregated_web_traffic')
        .selectAll()
        .where(...where)
        .execute(),
    )
    const found = together ? fold([rows, lateByWindow.get(start) ?? none]) : rows
    if (right.size <= maxGroups) problems.push(...differences(found, right))
    else {
      differ(`hits of the window ${start}`, totalOf(found), totalOf(right))
      problems.push(...tooMany(found, right))
    }
    problems.push(
      ...differences(anyCountry, fold([rows], 3)).map(difference => `without country: ${difference}`),
    )
    if (!result) continue
    differ(`traffic_windows.status of ${start}`, result.status, 'closed')
    differ(`traffic_windows.num_hits of ${start}`, result.num_hits, totalOf(rows))
    differ(`traffic_windows.groups of ${start}`, result.groups, rows.size)
    if (!together)
      differ(
        `traffic_windows.late_hits of ${start}`,
        result.late_hits,
        totalOf(rightLateByWindow.get(start) ?? none),
      )
  }
  if (!together) problems.push(...differences(late, reference.late).map(difference => `late: ${difference}`))

  const stored = await storedTotals(db)
  differ('rejected', stored.rejected, reference.rejected)
  const [hits, lateHits] = [totalOf(reference.hits), totalOf(reference.late)]
  if (together) differ('hits and late', stored.hits + stored.late, hits + lateHits)
  else {
    differ('hits', stored.hits, hits)
    differ('late', stored.late, lateHits)
  }
  return problems
}

/** Groups of a folded window with more hits than the topic has. */
function tooMany(found: Map<string, number>, right: Map<string, number>): string[] {
  return [...found]
    .filter(([key, hits]) => key.split('|')[2] !== '(other)' && hits > (right.get(key) ?? 0))
    .slice(0, 5)
    .map(([key, hits]) => `${key}: ${hits}, more than ${right.get(key)}`)
}

export function byWindow(counts: Map<string, number>): Map<string, Map<string, number>> {
  const windows = new Map<string, Map<string, number>>()
  for (const [key, hits] of counts) {
    const start = key.slice(0, key.indexOf('|'))
    let window = windows.get(start)
    if (!window) windows.set(start, (window = new Map<string, number>()))
    window.set(key, hits)
  }
  return windows
}
