import { continueAsNew, setHandler, setWorkflowOptions } from '@temporalio/workflow'
import type { ReplayedBatch } from '../contract/activities'
import { markdownTable } from '../contract/markdown'
import { formatInstant } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { recountProgress } from '../contract/messages'
import { batches, passByPass } from './recount'
import type { ReplayInput, ReplaySummary, ReplayTotals } from '../contract/workflows'
import { counted } from '../core/numbers'

/** Windows that are named in the result, of each kind. */
const NAMED = 50

/** Counts closed windows anew from the log, pass by pass, and publishes those that differ as their next revision. */
export async function replay(input: ReplayInput): Promise<ReplaySummary> {
  const { settings, includeLate, acceptLoss } = input
  const totals: ReplayTotals = input.carried ?? {
    unchanged: 0,
    replayed: 0,
    gone: 0,
    windows: [],
    goneWindows: [],
  }
  let underWay = ''
  const progress = () => `${sentence(totals)}${underWay && ` Now: ${underWay}.`}`
  setHandler(recountProgress, progress)
  describeWhenAsked(() => details(totals, progress()))

  await passByPass(
    settings,
    input.selection,
    async (starts, described) => {
      underWay = described
      const options = { summary: `replay ${described}` }
      add(
        totals,
        await batches.replayWindows.executeWithOptions(options, [
          { settings, starts, includeLate, ...(acceptLoss && { acceptLoss }) },
        ]),
      )
      underWay = ''
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
  const lostWindows = (totals.lostWindows ??= [])
  lostWindows.push(...lost.slice(0, NAMED - lostWindows.length))
  totals.windows.push(...replayed.slice(0, NAMED - totals.windows.length))
  totals.goneWindows.push(...gone.slice(0, NAMED - totals.goneWindows.length).map(formatInstant))
}

function sentence({ unchanged, replayed, gone, lost = 0 }: ReplayTotals): string {
  const cannot =
    gone > 0 ? ` ${gone} cannot be counted again, since Kafka no longer has all of their records.` : ''
  const would =
    lost > 0
      ? ` ${lost} would have lost hits and ${lost === 1 ? 'was' : 'were'} left as ${lost === 1 ? 'it is' : 'they are'}, ` +
        'since Kafka has other records now at the offsets that were counted.'
      : ''
  return `${counted(replayed, 'window')} replayed, ${unchanged} ${unchanged === 1 ? 'was' : 'were'} right already.${cannot}${would}`
}

function details({ windows: replayed }: ReplayTotals, progress: string): string {
  if (replayed.length === 0) return progress
  const rows = replayed.map(({ start, revision, hits, hitsBefore, broughtIn }) => [
    formatInstant(start),
    revision,
    hitsBefore,
    hits,
    broughtIn,
  ])
  const head = ['window', 'revision', 'hits before', 'hits', 'late brought in']
  return [progress, '', ...markdownTable(head, rows)].join('\n')
}
