import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import { formatInstant } from '../core/window/tumbling-window'
import { describeUnsettled, type UnsettledWindow, unsettledWindows } from '../contract/unsettled'
import type { Db } from '../postgres/database'
import { Pipeline } from './pipeline'
import type { Stuck } from '../contract/messages'

export interface WindowLine {
  windowStart: string
  windowEnd: string
  /**
   * `opening`, `open` or `closing` while its workflow runs, `published` or `closed` by Postgres; `stuck` where Postgres
   * does not take a step of it; `incomplete` where Postgres has less than was counted for it, and `lost` where it should
   * be closed and has neither a run nor a result.
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
  /** What is wrong with it, and what to do, where it is `incomplete` or `lost`. */
  trouble: string | null
}

/** Windows whose workflow runs: those that were told to close and have not ended, and the newest that are open. */
export async function unfinishedWindows(
  client: Client,
  config: Config,
  limit: number,
): Promise<{ running: WindowLine[]; unsettled: WindowLine[] }> {
  const pipeline = new Pipeline(client, config)
  const status = await pipeline.status()
  if (!status) return { running: [], unsettled: [] }
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
        trouble: null,
      }
    }),
  )
  const running = lines.filter(line => line !== undefined)
  const listed = new Set(running.map(({ windowStart }) => windowStart))
  const unsettled = unsettledWindows(status.ledger.books?.closing ?? [], Date.now())
    .filter(({ start }) => !listed.has(formatInstant(start)))
    .slice(-limit)
  return {
    running,
    unsettled: await Promise.all(unsettled.map(window => unsettledLine(pipeline, window, windowSize))),
  }
}

/** A window that was told to close, and of which no run is listed. */
async function unsettledLine(
  pipeline: Pipeline,
  window: UnsettledWindow,
  windowSize: number,
): Promise<WindowLine> {
  const { start, balance } = window
  const isLost = !balance && !(await pipeline.runs(start))
  const command = isLost
    ? ` Nothing of it runs: "web-traffic repair ${formatInstant(start)}" counts it again.`
    : ''
  return {
    windowStart: formatInstant(start),
    windowEnd: formatInstant(start + windowSize),
    status: balance ? 'incomplete' : isLost ? 'lost' : 'closing',
    hits: balance?.accounted.hits ?? 0,
    lateHits: null,
    groups: 0,
    unlocated: 0,
    revision: 0,
    closedAt: null,
    stuck: null,
    trouble: describeUnsettled(window, windowSize) + command,
  }
}

/** Of a window that has a result Postgres tells more, except what keeps it from going on. */
export function merge(running: WindowLine[], results: WindowLine[]): WindowLine[] {
  const lines = new Map(results.map(line => [line.windowStart, line]))
  for (const line of running) {
    const result = lines.get(line.windowStart)
    if (!result) lines.set(line.windowStart, line)
    else if (line.stuck) lines.set(line.windowStart, { ...result, status: 'stuck', stuck: line.stuck })
    else if (line.trouble)
      lines.set(line.windowStart, { ...result, status: line.status, trouble: line.trouble })
  }
  return [...lines.values()].sort((a, b) => Date.parse(a.windowStart) - Date.parse(b.windowStart))
}

export async function newestResults(db: Db, limit: number): Promise<WindowLine[]> {
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
    trouble: null,
  }))
}
