import { continueAsNew, setWorkflowOptions } from '@temporalio/workflow'
import type { ReplayedBatch } from '../contract/activities'
import { joinSentences, markdownTable } from '../contract/markdown'
import type { ReplayInput, ReplaySummary, ReplayTotals } from '../contract/workflows'
import { counted } from '../core/numbers'
import { formatInstant } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { addExamples, batches, Recount } from './recount'

/** How many windows of each kind the result names. */
const MAX_NAMED = 50

/** Counts closed windows again from the log, and publishes those that differ as their next revision. */
export async function replay(input: ReplayInput): Promise<ReplaySummary> {
  const { settings, includeLate, acceptLoss } = input
  const nothing = { unchanged: 0, replayed: 0, gone: 0, windows: [], goneWindows: [] }
  const totals: ReplayTotals = input.carried ?? nothing
  const recount = new Recount(
    'replay',
    () => sentence(totals),
    progress => details(totals, progress),
  )
  await recount.run(
    settings,
    input.selection,
    async (starts, options) => {
      const batch = { settings, starts, includeLate, ...(acceptLoss && { acceptLoss }) }
      add(totals, await batches.replayWindows.executeWithOptions(options, [batch]))
    },
    selection => continueAsNew<typeof replay>({ ...input, selection, carried: totals }),
  )
  return { summary: sentence(totals), ...totals }
}
setWorkflowOptions(finishedByItsBuild, replay)

function add(totals: ReplayTotals, { unchanged, replayed, gone, lost = [] }: ReplayedBatch): void {
  totals.unchanged += unchanged
  totals.replayed += replayed.length
  totals.gone += gone.length
  totals.lost = (totals.lost ?? 0) + lost.length
  addExamples((totals.lostWindows ??= []), lost, MAX_NAMED)
  addExamples(totals.windows, replayed, MAX_NAMED)
  addExamples(totals.goneWindows, gone.map(formatInstant), MAX_NAMED)
}

function sentence({ unchanged, replayed, gone, lost = 0 }: ReplayTotals): string {
  return joinSentences(
    `${counted(replayed, 'window')} replayed, ${unchanged} already right.`,
    gone > 0 && `${gone} cannot be counted again because Kafka no longer has all of their records.`,
    lost > 0 &&
      `${counted(lost, 'window')} would have lost hits and stayed unchanged: ` +
        'Kafka now has other records at the offsets that were counted.',
  )
}

function details({ windows }: ReplayTotals, progress: string): string {
  if (windows.length === 0) return progress
  const rows = windows.map(({ start, revision, hits, hitsBefore, broughtIn }) => {
    return [formatInstant(start), revision, hitsBefore, hits, broughtIn]
  })
  const head = ['window', 'revision', 'hits before', 'hits', 'late hits included']
  return [progress, '', ...markdownTable(head, rows)].join('\n')
}
