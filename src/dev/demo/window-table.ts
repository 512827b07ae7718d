import { sql } from 'kysely'
import { formatWindow } from '../../core/window/tumbling-window'
import { grouped } from '../../core/numbers'
import type { Db } from '../../postgres/database'
import { printable } from '../../terminal/table'

export interface FinishedWindow {
  start: Date
  hits: number
  late: number
  groups: number
  host: string
  referrer: string
  country: string
}

/** Windows that closed after `since`, oldest first, with their most frequent host, referrer and country. */
export async function finishedSince(db: Db, since: Date): Promise<(FinishedWindow & { closedAt: Date })[]> {
  const top = (column: 'host' | 'referrer' | 'country') => sql<string>`(
    select ${sql.ref(column)} from aggregated_web_traffic_by_country c
    where c.window_start = w.window_start and ${sql.ref(column)} <> ''
    group by ${sql.ref(column)} order by sum(c.num_hits) desc, 1 limit 1)`
  return db
    .selectFrom('traffic_windows as w')
    .select([
      'window_start as start',
      'num_hits as hits',
      'late_hits as late',
      'groups',
      'closed_at as closedAt',
    ])
    .select([top('host').as('host'), top('referrer').as('referrer'), top('country').as('country')])
    .where('closed_at', '>', since)
    .orderBy('closed_at')
    .orderBy('window_start')
    .execute()
}

const WIDTHS = [31, 9, 7, 8, 26, 40, 7]

export function heading(): string {
  return row(['window (UTC)', 'hits', 'late', 'groups', 'top host', 'top referrer', 'country'])
}

export function windowRow(window: FinishedWindow, windowSize: number): string {
  const { hits, late, groups, host, referrer, country } = window
  const figures = [hits, late, groups].map(grouped)
  return row([formatWindow(window.start.getTime(), windowSize), ...figures, host, referrer, country])
}

/** Aligns figures to the right and text to the left; cuts text to its column. */
function row(cells: (string | null)[]): string {
  return cells
    .map((cell, i) => {
      const width = WIDTHS[i]!
      const text = printable(cell ?? '')
      if (i >= 1 && i <= 3) return text.padStart(width)
      return (text.length > width ? `${text.slice(0, width - 1)}…` : text).padEnd(width)
    })
    .join(' ')
    .trimEnd()
}
