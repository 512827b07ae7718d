import type { Client } from '@temporalio/client'
import { Command } from 'commander'
import { loadConfig, type Config } from '../config'
import { formatInstant, formatWindow } from '../core/tumbling-window'
import type { Stuck } from '../core/window-report'
import type { Db } from '../postgres/database'
import { withTemporal } from '../temporal'
import { withDatabase } from './database'
import { Pipeline } from '../pipeline'
import { wholeNumber } from './start'
import { printable, table } from './table'

export interface WindowLine {
  windowStart: string
  windowEnd: string
  /**
   * `opening`, `open` or `closing` while its workflow runs, `published` or `closed` by Postgres; `stuck` where Postgres
   * does not take a step of it.
   */
  status: string
  hits: number
  lateHits: number | null
  groups: number
  /** Hits under `??` because their look-up failed and was not waited for. */
  unlocated: number
  revision: number
  closedAt: string | null
  /** Its times are epoch milliseconds. */
  stuck: Stuck | null
}

export function windowsCommand(): Command {
  return new Command('windows')
    .description('the newest windows: those that are open or stuck, and the results in Postgres')
    .option('--limit <n>', 'how many of each', wholeNumber, 20)
    .option('--json', 'print as JSON')
    .action(async ({ limit, json }: { limit: number; json?: true }) => {
      const config = loadConfig()
      const running = await withTemporal(client => runningWindows(client, config, limit))
      const show = (lines: WindowLine[]) =>
        console.log(json ? JSON.stringify(lines, null, 2) : describe(lines))
      const results = await withDatabase(config, db => newestResults(db, limit)).catch((error: unknown) => {
        // What Temporal knows is all the more of use.
        if (running.length > 0) show(running)
        throw error
      })
      show(merge(running, results))
    })
}

/** Windows whose workflow runs: those that were told to close and have not ended, and the newest that are open. */
async function runningWindows(client: Client, config: Config, limit: number): Promise<WindowLine[]> {
  const pipeline = new Pipeline(client, config)
  const status = await pipeline.status()
  if (!status) return []
  const closing = await pipeline.closingWindows(status, limit)
  const open = status.ledger.openWindows.slice(-limit)
  const { windowSize } = status.settings
  const lines = await Promise.all(
    [...closing, ...open].map(async (start): Promise<WindowLine | undefined> => {
      const progress = await pipeline.progressOf(start)
      // Told to close when it was listed, and has ended since.
      if (progress?.state === 'closed') return undefined
      const { stuck, state = 'opening', hits = 0, groups = 0, unlocated = 0, revision = 0 } = progress ?? {}
      return {
        windowStart: formatInstant(start),
        windowEnd: formatInstant(start + windowSize),
        status: stuck ? 'stuck' : state,
        hits,
        lateHits: null,
        groups,
        unlocated,
        revision,
        closedAt: null,
        stuck: stuck ? { ...stuck, reason: stuck.reason ?? (await pipeline.failureOf(start)) } : null,
      }
    }),
  )
  return lines.filter(line => line !== undefined)
}

/** Of a window that has a result Postgres tells more, except what keeps it from going on. */
function merge(running: WindowLine[], results: WindowLine[]): WindowLine[] {
  const lines = new Map(results.map(line => [line.windowStart, line]))
  for (const line of running) {
    const result = lines.get(line.windowStart)
    if (!result) lines.set(line.windowStart, line)
    else if (line.stuck) lines.set(line.windowStart, { ...result, status: 'stuck', stuck: line.stuck })
  }
  return [...lines.values()].sort((a, b) => Date.parse(a.windowStart) - Date.parse(b.windowStart))
}

async function newestResults(db: Db, limit: number): Promise<WindowLine[]> {
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
    stuck: null,
  }))
}

function describe(lines: WindowLine[]): string {
  if (lines.length === 0) return 'There is no window yet.'
  const shown = table(
    ['window (UTC)', 'status', 'hits', 'late', 'unlocated', 'groups', 'revision', 'closed at'],
    lines.map(line => [
      named(line),
      line.status,
      line.hits,
      line.lateHits,
      line.unlocated,
      line.groups,
      line.revision,
      line.closedAt,
    ]),
  )
  const stuck = lines.flatMap(line => (line.stuck ? [`${named(line)} is stuck: ${explain(line.stuck)}`] : []))
  return [shown, ...(stuck.length > 0 ? ['', ...stuck] : [])].join('\n')
}

function named({ windowStart, windowEnd }: WindowLine): string {
  return formatWindow(Date.parse(windowStart), Date.parse(windowEnd) - Date.parse(windowStart))
}

function explain({ step, since, reason, nextTry }: Stuck): string {
  const tried = `since ${formatInstant(since)} it has tried to ${step}.`
  const why = reason === undefined ? '' : ` ${printable(reason)}`
  const next =
    nextTry === undefined
      ? ''
      : ` Mend that and run "web-traffic retry"; by itself it is tried again at ${formatInstant(nextTry)}.`
  return tried + why + next
}
