import { sql } from 'kysely'
import type { CountedWindow, WindowSelection } from '../core/window/recount'
import type { Db } from './database'
import type { WindowRow } from './window-row'

/**
 * The oldest closed windows of a selection, with their number of groups, which decides the memory that counting them
 * again takes. Windows past retention are left out, since their counts were dropped.
 */
export async function selectClosedWindows(
  db: Db,
  { from, to, late, unlocated }: WindowSelection,
  limit: number,
): Promise<{ start: number; groups: number }[]> {
  const hasLate = sql`exists (select from late_deltas l where l.window_start = w.window_start and brought_in is null)`
  const reasons = [...(late ? [hasLate] : []), ...(unlocated ? [sql`unlocated > 0`] : [])]
  const { rows } = await sql<{ window_start: Date; groups: number }>`
    select window_start, groups from window_results w
    where status = 'closed' and ${notPastRetention}
      and window_start >= ${atOr(from, '-infinity')} and window_end <= ${atOr(to, 'infinity')}
      and ${reasons.length > 0 ? sql`(${sql.join(reasons, sql` or `)})` : sql`true`}
    order by window_start limit ${limit}`.execute(db)
  return rows.map(({ window_start, groups }) => ({ start: window_start.getTime(), groups }))
}

const notPastRetention = sql`window_start >= coalesce((select dropped_before from past_retention), '-infinity')`

const atOr = (time: number | undefined, otherwise: 'infinity' | '-infinity') =>
  sql`${time === undefined ? otherwise : new Date(time)}::timestamptz`

/** What these windows were counted from. Windows that are not closed are left out. */
export async function closedWindows(db: Db, starts: number[]): Promise<CountedWindow[]> {
  const { rows } = await sql<Pick<WindowRow, 'window_start' | 'partitions'>>`
    select window_start, partitions from window_results
    where status = 'closed' and window_start = any(${dates(starts)}::timestamptz[])
    order by window_start`.execute(db)
  return rows.map(({ window_start, partitions }) => ({ start: window_start.getTime(), partitions }))
}

/** Windows of a selection that have hits in their books but no row, which means that their row was deleted. */
export async function bookedWithoutResult(
  db: Db,
  { from, to }: WindowSelection,
  windowSize: number,
): Promise<number[]> {
  const last = to === undefined ? undefined : to - windowSize
  const { rows } = await sql<{ window_start: Date }>`
    select window_start from window_books b
    where ${notPastRetention}
      and window_start >= ${atOr(from, '-infinity')} and window_start <= ${atOr(last, 'infinity')}
      and not exists (select from window_results w where w.window_start = b.window_start)
    group by window_start having sum(num_hits) > 0`.execute(db)
  return rows.map(({ window_start }) => window_start.getTime())
}

/** Which of these windows have a result, or need none because they had only late and rejected records. */
export async function windowsWithResult(db: Db, starts: number[]): Promise<Set<number>> {
  const { rows } = await sql<{ window_start: Date }>`
    select window_start from window_results where window_start = any(${dates(starts)}::timestamptz[])
    union select window_start from window_books where window_start = any(${dates(starts)}::timestamptz[])
    group by window_start having sum(num_hits) <= 0`.execute(db)
  return new Set(rows.map(({ window_start }) => window_start.getTime()))
}

const dates = (starts: number[]) => starts.map(start => new Date(start))

export async function isPastRetention(db: Db, start: number): Promise<boolean> {
  const { rows } = await sql`
    select from past_retention where dropped_before > ${new Date(start)}`.execute(db)
  return rows.length > 0
}
