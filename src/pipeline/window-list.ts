import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import { formatInstant } from '../core/window/tumbling-window'
import { joinSentences } from '../contract/markdown'
import { describeUnsettled, type UnsettledWindow, unsettledWindows } from '../contract/unsettled'
import type { Stuck } from '../contract/messages'
import { UserError } from '../errors'
import type { Db } from '../postgres/database'
import { PipelineClient } from './pipeline-client'
import { closingWindows } from './visibility'
import { WindowClient } from './window-client'

export interface WindowLine {
  windowStart: string
  windowEnd: string
  /**
   * While its workflow runs: `opening`, `open` or `closing`, or `stuck` if Postgres refuses a step. By its row in
   * Postgres: `published` or `closed`. `incomplete` if Postgres has less than was announced for it; `lost` if it should
   * be closed but has neither a run nor a result; `silent` if its workflow does not answer.
   */
  status: string
  hits: number
  lateHits: number | null
  groups: number
  /** Hits under `??` because their country lookup failed. */
  unlocated: number
  revision: number
  closedAt: string | null
  /** Its times are epoch milliseconds. */
  stuck: Stuck | null
  /** What is wrong and what to do, if it is `incomplete`, `lost`, `silent` or overdue. */
  trouble: string | null
}

const emptyLine = (start: number, end: number) => ({
  windowStart: formatInstant(start),
  windowEnd: formatInstant(end),
  hits: 0,
  lateHits: null,
  groups: 0,
  unlocated: 0,
  revision: 0,
  closedAt: null,
  stuck: null,
  trouble: null,
})

/**
 * The newest windows without a final result, at most `limit` of each kind: those whose workflow is listed as running, and
 * others that are unsettled by the ledger.
 */
export async function unfinishedWindows(
  client: Client,
  config: Config,
  limit: number,
): Promise<{ running: WindowLine[]; unsettled: WindowLine[] }> {
  const pipeline = new PipelineClient(client, config)
  const status = await pipeline.status()
  if (!status) return { running: [], unsettled: [] }
  const { windowSize } = status.settings
  const listed = [
    ...(await closingWindows(client, status, limit)),
    ...status.ledger.openWindows.slice(-limit),
  ]
  const windows = new WindowClient(client, status.settings.group, windowSize)
  const lines = await Promise.all(listed.map(start => runningLine(windows, start, windowSize)))
  const running = lines.filter(line => line !== undefined)
  const shown = new Set(running.map(({ windowStart }) => windowStart))
  const unsettled = unsettledWindows(status.ledger.books?.closing ?? [], Date.now())
    .filter(({ start }) => !shown.has(formatInstant(start)))
    .slice(-limit)
  return {
    running,
    unsettled: await Promise.all(unsettled.map(window => unsettledLine(windows, window, windowSize))),
  }
}

/** Undefined if the window has closed since it was listed. */
async function runningLine(
  windows: WindowClient,
  start: number,
  windowSize: number,
): Promise<WindowLine | undefined> {
  const progress = await windows.progressOf(start).catch(userError)
  if (progress instanceof UserError)
    return { ...emptyLine(start, start + windowSize), status: 'silent', trouble: progress.message }
  if (progress?.state === 'closed') return undefined
  const { stuck, state = 'opening', hits = 0, groups = 0, unlocated = 0, revision = 0 } = progress ?? {}
  return {
    ...emptyLine(start, start + windowSize),
    ...{ status: stuck ? 'stuck' : state, hits, groups, unlocated, revision },
    stuck: stuck ?? null,
  }
}

function userError(error: unknown): UserError {
  if (error instanceof UserError) return error
  throw error
}

/** A window that was told to close and whose workflow is not listed. */
async function unsettledLine(
  windows: WindowClient,
  window: UnsettledWindow,
  windowSize: number,
): Promise<WindowLine> {
  const { start, balance } = window
  const isLost = !balance && !(await windows.isRunning(start))
  const why = isLost
    ? `Its workflow does not run: "web-traffic repair ${formatInstant(start)}" counts it again.`
    : !balance && (await windows.troubleOf(start))
  return {
    ...emptyLine(start, start + windowSize),
    status: balance ? 'incomplete' : isLost ? 'lost' : 'closing',
    hits: balance?.accounted.hits ?? 0,
    trouble: joinSentences(describeUnsettled(window, windowSize), why),
  }
}

/** Of a window in both lists, shows the result in Postgres with the trouble of its workflow. */
export function mergeWindows(unfinished: WindowLine[], results: WindowLine[]): WindowLine[] {
  const lines = new Map(results.map(line => [line.windowStart, line]))
  for (const line of unfinished) {
    const { windowStart, status, stuck, trouble } = line
    const result = lines.get(windowStart)
    if (!result) lines.set(windowStart, line)
    else if (stuck || trouble) lines.set(windowStart, { ...result, status, stuck, trouble })
  }
  return [...lines.values()].sort((a, b) => Date.parse(a.windowStart) - Date.parse(b.windowStart))
}

/** The newest results in Postgres, oldest first. */
export async function newestResults(db: Db, limit: number): Promise<WindowLine[]> {
  const rows = await db
    .selectFrom('traffic_windows')
    .selectAll()
    .orderBy('window_start', 'desc')
    .limit(limit)
    .execute()
  return rows.reverse().map(row => ({
    ...emptyLine(row.window_start.getTime(), row.window_end.getTime()),
    status: row.status,
    hits: row.num_hits,
    lateHits: row.late_hits,
    groups: row.groups,
    unlocated: row.unlocated,
    revision: row.revision,
    closedAt: row.closed_at.toISOString(),
  }))
}
