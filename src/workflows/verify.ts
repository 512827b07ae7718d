import {
  ApplicationFailure,
  continueAsNew,
  setHandler,
  patched,
  setWorkflowOptions,
  workflowInfo,
} from '@temporalio/workflow'
import type { VerifiedBatch, WrongWindow } from '../activities/types'
import type { WindowSelection } from '../core/recount'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/tumbling-window'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { DIFFERENCES, recountProgress } from './messages'
import { batches, passByPass } from './recount'

/** Windows that are named in the failure. */
const NAMED = 20
const DAY = 86_400_000

export interface VerifyInput {
  settings: PipelineSettings
  /** Or the day before the one on which it is started, in UTC. */
  selection: WindowSelection | 'yesterday'
  /** From the run before, where this one continues it. */
  carried?: Verified
}

export interface Verified {
  right: number
  wrong: number
  gone: number
  /** Some of the wrong ones. */
  windows: WrongWindow[]
  /** Some of those of which Kafka no longer has all records. */
  goneWindows: string[]
  /** Windows that were closed, and of which Postgres has no result. */
  missing: string[]
}

export interface VerifySummary extends Verified {
  summary: string
}

/** Counts closed windows anew from the log, and compares Postgres with it, row by row. Fails where they differ. */
export async function verify(input: VerifyInput): Promise<VerifySummary> {
  const { settings } = input
  const verified = input.carried ?? nothing()
  let underWay = ''
  const progress = () => `${sentence(verified)}${underWay && ` Now: ${underWay}.`}`
  setHandler(recountProgress, progress)
  describeWhenAsked(progress)

  const selection = input.selection === 'yesterday' ? yesterday() : input.selection
  if (!input.carried && patched('missing'))
    verified.missing = (await batches.findMissing({ settings, ...selection })).map(formatInstant)
  await passByPass(
    settings,
    selection,
    async (starts, described) => {
      underWay = described
      const options = { summary: `verify ${described}` }
      add(verified, await batches.verifyWindows.executeWithOptions(options, [{ settings, starts }]))
      underWay = ''
    },
    rest => continueAsNew<typeof verify>({ ...input, selection: rest, carried: verified }),
  )
  const summary = sentence(verified)
  if (verified.wrong + verified.missing.length === 0) return { summary, ...verified }
  throw ApplicationFailure.nonRetryable(`${summary} ${remedy(verified)}`, DIFFERENCES, verified)
}
setWorkflowOptions(finishedByItsBuild, verify)

function nothing(): Verified {
  return { right: 0, wrong: 0, gone: 0, windows: [], goneWindows: [], missing: [] }
}

function yesterday(): WindowSelection {
  const today = Math.floor(workflowInfo().startTime.getTime() / DAY) * DAY
  return { from: today - DAY, to: today }
}

function add(verified: Verified, { right, wrong, gone }: VerifiedBatch): void {
  verified.right += right
  verified.wrong += wrong.length
  verified.gone += gone.length
  verified.windows.push(...wrong.slice(0, NAMED - verified.windows.length))
  verified.goneWindows.push(...gone.slice(0, NAMED - verified.goneWindows.length).map(formatInstant))
}

function sentence({ right, wrong, gone, missing }: Verified): string {
  const lost = gone > 0 ? ` ${gone} cannot be verified, since Kafka no longer has all of their records.` : ''
  const absent = missing.length > 0 ? ` ${missing.length} have no result in Postgres.` : ''
  return `${right} windows are right, ${wrong} are not.${absent}${lost}`
}

function remedy({ windows, missing }: Verified): string {
  if (missing.length > 0)
    return `Write again what Postgres has lost with "web-traffic recover --since" and the time of its backup (missing: ${named(missing)}).`
  const names = windows.map(({ start }) => formatInstant(start))
  return `Count ${windows.length === 1 ? 'it' : 'them'} anew with "web-traffic replay ${names[0]}"${
    names.length > 1 ? ` (also ${names.slice(1).join(', ')})` : ''
  }.`
}

function named(windows: string[]): string {
  return `${windows.slice(0, NAMED).join(', ')}${windows.length > NAMED ? ' …' : ''}`
}
