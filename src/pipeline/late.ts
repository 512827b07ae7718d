import type { Db } from '../postgres/database'

export interface LateFilter {
  /** Windows that start at or after it, epoch milliseconds. */
  from?: number
  /** Windows that end at or before it, epoch milliseconds. */
  to?: number
  cause?: 'watermark' | 'closed'
  limit: number
}

/** Late events by window, cause, host, referrer and country, newest windows first. */
export function lateGroups(db: Db, { from, to, cause, limit }: LateFilter) {
  return db
    .selectFrom('late_web_traffic')
    .selectAll()
    .$if(from !== undefined, query => query.where('window_start', '>=', new Date(from!)))
    .$if(to !== undefined, query => query.where('window_end', '<=', new Date(to!)))
    .$if(cause !== undefined, query => query.where('cause', '=', cause!))
    .orderBy('window_start', 'desc')
    .orderBy('num_hits', 'desc')
    .orderBy('host')
    .orderBy('referrer')
    .orderBy('country')
    .limit(limit)
    .execute()
}
