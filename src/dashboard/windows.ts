import type { Transaction } from '../postgres/database'
import type { RangePart } from '../postgres/rollups'
import type { WindowPage, WindowResult, WindowSummary } from './api'
import { rank } from './traffic'

const PAGE_SIZE = 12

/** A page of windows with a result, newest first. @param before start of the oldest window on the previous page */
export const windowPage =
  (before?: number) =>
  async (transaction: Transaction): Promise<WindowPage> => {
    const rows = await summaries(transaction)
      .$if(before !== undefined, query => query.where('window_start', '<', new Date(before!)))
      .orderBy('window_start', 'desc')
      .limit(PAGE_SIZE + 1)
      .execute()
    return { windows: rows.slice(0, PAGE_SIZE).map(summary), older: rows.length > PAGE_SIZE }
  }

export const windowResult =
  (start: number) =>
  async (transaction: Transaction): Promise<WindowResult | null> => {
    const row = await summaries(transaction)
      .select('partitions')
      .where('window_start', '=', new Date(start))
      .executeTakeFirst()
    if (!row) return null
    const pieces: RangePart[] = [{ period: 'window', from: start, to: row.window_end.getTime() }]
    return {
      ...summary(row),
      hosts: await rank(transaction, 'host', 'all', pieces),
      referrers: await rank(transaction, 'referrer', 'all', pieces),
      countries: await rank(transaction, 'country', 'all', pieces),
      read: row.partitions.map(({ partition, from, last }) => ({ partition, from, last })),
    }
  }

function summaries(transaction: Transaction) {
  return transaction
    .selectFrom('traffic_windows')
    .select(['window_start', 'window_end', 'status', 'num_hits', 'late_hits', 'groups'])
    .select(['revision', 'closed_at'])
}

type Row = Awaited<ReturnType<ReturnType<typeof summaries>['execute']>>[number]

function summary(row: Row): WindowSummary {
  return {
    start: row.window_start.getTime(),
    end: row.window_end.getTime(),
    status: row.status,
    hits: row.num_hits,
    late: row.late_hits,
    groups: row.groups,
    revision: row.revision,
    closedAt: row.closed_at.getTime(),
  }
}
