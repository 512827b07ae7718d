import { continueAsNew, setHandler, setWorkflowOptions, workflowInfo } from '@temporalio/workflow'
import type { ReplayedBatch } from '../activities/types'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/tumbling-window'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { recountProgress } from './messages'
import { after, batches, describeBatch, nextWindows, type Selection } from './recount'

/** Windows that are named in the result, of each kind. */
const NAMED = 50

export interface ReplayInput {
  settings: PipelineSettings
  selection: Selection
  includeLate: boolean
  /** From the run before, where this one continues it. */
  carried?: ReplayTotals
}

interface ReplayTotals {
  unchanged: number
  replayed: number
  gone: number
  /** Some of them. */
  windows: ReplayedBatch['replayed']
  goneWindows: string[]
}

export interface ReplaySummary extends ReplayTotals {
  summary: string
}

/** Counts closed windows anew from the log, pass by pass, and publishes those that differ as their next revision. */
export async function replay(input: ReplayInput): Promise<ReplaySummary> {
  const { settings, includeLate } = input
  const totals: ReplayTotals = input.carried ?? {
    unchanged: 0,
    replayed: 0,
    gone: 0,
    windows: [],
    goneWindows: [],
  }
  let { selection } = input
  let underWay = ''
  const progress = () => `${sentence(totals)}${underWay && ` Now: ${underWay}.`}`
  setHandler(recountProgress, progress)
  describeWhenAsked(() => details(totals, progress()))

  for (;;) {
    const starts = await nextWindows(settings, selection)
    if (starts.length === 0) return { summary: sentence(totals), ...totals }
    underWay = describeBatch(starts, settings)
    const batch = await batches.replayWindows.executeWithOptions({ summary: `replay ${underWay}` }, [
      { settings, starts, includeLate },
    ])
    underWay = ''
    add(totals, batch)
    selection = after(selection, starts)
    if (workflowInfo().continueAsNewSuggested)
      await continueAsNew<typeof replay>({ ...input, selection, carried: totals })
  }
}
setWorkflowOptions(finishedByItsBuild, replay)

function add(totals: ReplayTotals, { unchanged, replayed, gone }: ReplayedBatch): void {
  totals.unchanged += unchanged
  totals.replayed += replayed.length
  totals.gone += gone.length
  totals.windows.push(...replayed.slice(0, NAMED - totals.windows.length))
  totals.goneWindows.push(...gone.slice(0, NAMED - totals.goneWindows.length).map(formatInstant))
}

function sentence({ unchanged, replayed, gone }: ReplayTotals): string {
  const lost =
    gone > 0 ? ` ${gone} cannot be counted anew, since Kafka no longer has all of their records.` : ''
  return `${replayed} windows replayed, ${unchanged} were right already.${lost}`
}

function details({ windows }: ReplayTotals, progress: string): string {
  const rows = windows.map(
    ({ start, revision, hits, hitsBefore, broughtIn }) =>
      `| ${formatInstant(start)} | ${revision} | ${hitsBefore} | ${hits} | ${broughtIn} |`,
  )
  const head = [
    '| window | revision | hits before | hits | late brought in |',
    '| --- | --- | --- | --- | --- |',
  ]
  return [progress, ...(rows.length > 0 ? ['', ...head, ...rows] : [])].join('\n')
}
