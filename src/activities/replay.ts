import { Context } from '@temporalio/activity'
import type { Config } from '../config'
import type { WindowSelection } from '../core/recount'
import { formatInstant } from '../core/tumbling-window'
import type { Lookup } from '../geo/lookup'
import { closedWindows, selectClosedWindows } from '../postgres/closed-windows'
import type { Db } from '../postgres/database'
import { replayWindow, verifyWindow } from '../postgres/replay-window'
import { recountWindows, type RecountOptions } from './recount'
import type { BatchInput, ReplayedBatch, VerifiedBatch } from './types'

interface Outside {
  config: Pick<Config, 'kafka'>
  db: Db
  lookup: Lookup
  /** Of the heartbeat. */
  report: (progress: object) => void
}

/** Differences of a window that are named one by one. */
const NAMED_DIFFERENCES = 20

/** Groups, and windows, that are counted anew in one pass. */
const BATCH = { groups: 250_000, windows: 288 }

/** The first windows of a selection, oldest first. */
export async function nextBatch(db: Db, selection: WindowSelection): Promise<number[]> {
  const windows = await selectClosedWindows(db, selection, BATCH.windows)
  let groups = 0
  const fitting = windows.filter((window, i) => (groups += window.groups) <= BATCH.groups || i === 0)
  return fitting.map(({ start }) => start)
}

/** Counts the closed windows of a batch anew, and publishes those that differ. */
export async function replayWindows(
  { includeLate = false, ...input }: BatchInput,
  outside: Outside,
): Promise<ReplayedBatch> {
  const { recount, gone, counted } = await recountBatch(input, outside)
  const batch: ReplayedBatch = { unchanged: 0, replayed: [], gone: gone.map(({ start }) => start) }
  for (const { start } of counted) {
    const replayed = await replayWindow(outside.db, { start, counter: recount.counterOf(start), includeLate })
    if (replayed.outcome === 'unchanged') batch.unchanged++
    if (replayed.outcome !== 'replayed') continue
    const { revision, hits, hitsBefore, broughtIn } = replayed
    batch.replayed.push({ start, revision, hits, hitsBefore, broughtIn })
  }
  return batch
}

/** Counts the closed windows of a batch anew, and says where Postgres has something else. */
export async function verifyWindows(input: BatchInput, outside: Outside): Promise<VerifiedBatch> {
  const { recount, gone, counted } = await recountBatch(input, outside)
  const batch: VerifiedBatch = { right: 0, wrong: [], gone: gone.map(({ start }) => start) }
  for (const { start } of counted) {
    const found = await verifyWindow(outside.db, start, recount.counterOf(start))
    if (!found) continue
    const { differences, stored, counted } = found
    if (differences.length === 0 && stored === counted) batch.right++
    else
      batch.wrong.push({
        start,
        stored,
        counted,
        differences: differences.slice(0, NAMED_DIFFERENCES),
        more: Math.max(0, differences.length - NAMED_DIFFERENCES),
      })
  }
  return batch
}

async function recountBatch({ settings, starts }: BatchInput, { config, db, lookup, report }: Outside) {
  const windows = await closedWindows(db, starts)
  const onProgress: RecountOptions['onProgress'] = (read, all) =>
    report({ windows: starts.map(formatInstant), records: `${read} of ${all}` })
  const { cancellationSignal: signal } = Context.current()
  return recountWindows(windows, { settings, kafka: config.kafka, lookup, signal, onProgress })
}
