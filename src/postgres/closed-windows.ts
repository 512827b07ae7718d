import { sql } from 'kysely'
import type { CountedWindow, WindowSelection } from '../core/window/recount'
import type { AppliedPartition } from '../core/window/protocol'
import type { Db } from './database'

/**
 * Closed windows, oldest first, with their groups: what counting one anew keeps in memory. Those whose counts were
 * dropped, because they were past retention, have nothing to be compared with, and are left out.
 */
export async function selectClosedWindows(
  db: Db,
  { from, to, late, unlocated }: WindowSelection,
  limit: number,
): Promise<{ start: number; groups: number }[]> {
  const rows = await db
    .selectFrom('window_results')
    .select(['window_start', 'groups'])
    .where('status', '=', 'closed')
    .where(sql<boolean>`window_start >= coalesce((select dropped_before from past_retention), '-infinity')`)
    .$if(from !== undefined, query => query.where('window_start', '>=', new Date(from!)))
    .$if(to !== undefined, query => query.where('window_end', '<=', new Date(to!)))
    .$if(late === true || unlocated === true, query =>
      query.where(window => {
        const hasLate = window.exists(
          window
            .selectFrom('late_deltas')
            .select(sql`1`.as('one'))
            .whereRef('late_deltas.window_start', '=', 'window_results.window_start')
            .where('brought_in', 'is', null),
        )
        return window.or([...(late ? [hasLate] : []), ...(unlocated ? [window('unlocated', '>', 0)] : [])])
      }),
    )
    .orderBy('window_start')
    .limit(limit)
    .execute()
  return rows.map(({ window_start, groups }) => ({ start: window_start.getTime(), groups }))
}

/** What these windows were counted from; windows that are not closed are left out. */
export async function closedWindows(db: Db, starts: number[]): Promise<CountedWindow[]> {
  if (starts.length === 0) return []
  const rows = await db
    .selectFrom('window_results')
    .select(['window_start', 'partitions'])
    .where('status', '=', 'closed')
    .where(
      'window_start',
      'in',
      starts.map(start => new Date(start)),
    )
    .orderBy('window_start')
    .execute()
  return rows.map(({ window_start, partitions }) => ({ start: window_start.getTime(), partitions }))
}

/** Windows that were told hits and have no row, in a selection: their row was deleted. */
export async function bookedWithoutResult(
  db: Db,
  { from, to }: WindowSelection,
  size: number,
): Promise<number[]> {
  const { rows } = await sql<{ window_start: Date }>`
    select window_start from window_books b
    where window_start >= coalesce((select dropped_before from past_retention), '-infinity')
      and window_start >= ${from === undefined ? sql`'-infinity'` : new Date(from)}
      and window_start <= ${to === undefined ? sql`'infinity'` : new Date(to - size)}
      and not exists (select from window_results w where w.window_start = b.window_start)
    group by window_start having sum(num_hits) > 0`.execute(db)
  return rows.map(({ window_start }) => window_start.getTime())
}

/** Which of these windows have a result, or are known to have none: they had nothing but late and rejected records. */
export async function windowsWithResult(db: Db, starts: number[]): Promise<Set<number>> {
  const { rows } = await sql<{ window_start: Date }>`
    select window_start from window_results
    where window_start = any(${starts.map(start => new Date(start))}::timestamptz[])
    union select window_start from window_books
    where window_start = any(${starts.map(start => new Date(start))}::timestamptz[])
    group by window_start having sum(num_hits) <= 0`.execute(db)
  return new Set(rows.map(({ window_start }) => window_start.getTime()))
}

/** A window's row; undefined where there is none. */
export async function windowResult(
  db: Db,
  start: number,
): Promise<{ status: 'published' | 'closed'; partitions: AppliedPartition[] } | undefined> {
  return db
    .selectFrom('window_results')
    .select(['status', 'partitions'])
    .where('window_start', '=', new Date(start))
    .executeTakeFirst()
}

export async function isPastRetention(db: Db, start: number): Promise<boolean> {
  const { rows } = await sql`
    select from past_retention where dropped_before > ${new Date(start)}`.execute(db)
  return rows.length > 0
}
