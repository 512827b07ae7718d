import type { Client } from '@temporalio/client'
import { WorkflowNotFoundError } from '@temporalio/common'
import { Command } from 'commander'
import { loadConfig, type Config } from '../config'
import { windowId } from '../core/names'
import { formatInstant, formatWindow } from '../core/tumbling-window'
import type { Db } from '../postgres/database'
import { withTemporal } from '../temporal'
import { windowProgress } from '../workflows/messages'
import { withDatabase } from './database'
import { Pipeline } from './pipeline'
import { wholeNumber } from './start'
import { table } from './table'

export interface WindowLine {
  windowStart: string
  windowEnd: string
  /** `opening`, `open` or `writing` while its workflow runs; `published` or `closed` by Postgres. */
  status: string
  hits: number
  lateHits: number | null
  groups: number
  /** Hits under `??` because their look-up failed and was not waited for. */
  unlocated: number
  revision: number | null
  closedAt: string | null
}

export function windowsCommand(): Command {
  return new Command('windows')
    .description('the newest windows: those still open, and the results in Postgres')
    .option('--limit <n>', 'how many of each', wholeNumber, 20)
    .option('--json', 'print as JSON')
    .action(async ({ limit, json }: { limit: number; json?: true }) => {
      const config = loadConfig()
      const open = await withTemporal(client => openWindows(client, config, limit))
      const closed = await withDatabase(config, db => closedWindows(db, limit))
      const lines = [...closed, ...open]
      console.log(json ? JSON.stringify(lines, null, 2) : describe(lines))
    })
}

async function openWindows(client: Client, config: Config, limit: number): Promise<WindowLine[]> {
  const status = await new Pipeline(client, config).status()
  if (!status) return []
  const { group, windowSize } = status.settings
  const newest = status.ledger.openWindows.slice(-limit)
  const lines = await Promise.all(
    newest.map(async start => {
      const progress = await client.workflow
        .getHandle(windowId(group, start))
        .query(windowProgress)
        .catch((error: unknown) => {
          // Announced to the ledger, and its first delta is still on its way.
          if (error instanceof WorkflowNotFoundError) return undefined
          throw error
        })
      return {
        windowStart: formatInstant(start),
        windowEnd: formatInstant(start + windowSize),
        status: progress?.state ?? 'opening',
        hits: progress?.hits ?? 0,
        lateHits: null,
        groups: progress?.groups ?? 0,
        unlocated: progress?.unlocated ?? 0,
        revision: progress?.revision ?? 0,
        closedAt: null,
      }
    }),
  )
  // Of a window that has a result Postgres tells more.
  return lines.filter(({ revision }) => revision === 0)
}

async function closedWindows(db: Db, limit: number): Promise<WindowLine[]> {
  const rows = await db
    .selectFrom('traffic_windows')
    .selectAll()
    .orderBy('window_start', 'desc')
    .limit(limit)
    .execute()
  return rows.reverse().map(row => ({
    windowStart: formatInstant(row.window_start.getTime()),
    windowEnd: formatInstant(row.window_end.getTime()),
    status: row.status,
    hits: row.num_hits,
    lateHits: row.late_hits,
    groups: row.groups,
    unlocated: row.unlocated,
    revision: row.revision,
    closedAt: row.closed_at.toISOString(),
  }))
}

function describe(lines: WindowLine[]): string {
  if (lines.length === 0) return 'There is no window yet.'
  return table(
    ['window (UTC)', 'status', 'hits', 'late', 'unlocated', 'groups', 'revision', 'closed at'],
    lines.map(line => [
      formatWindow(Date.parse(line.windowStart), Date.parse(line.windowEnd) - Date.parse(line.windowStart)),
      line.status,
      line.hits,
      line.lateHits,
      line.unlocated,
      line.groups,
      line.revision,
      line.closedAt,
    ]),
  )
}
