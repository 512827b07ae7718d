import {
  ApplicationFailure,
  continueAsNew,
  setHandler,
  patched,
  setWorkflowOptions,
  workflowInfo,
} from '@temporalio/workflow'
import type { VerifiedBatch } from '../contract/activities'
import type { WindowSelection } from '../core/window/recount'
import { formatInstant } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { describeWhenAsked } from './details'
import { DIFFERENCES, recountProgress } from '../contract/messages'
import { batches, passByPass } from './recount'
import type { Verified, VerifyInput, VerifySummary } from '../contract/workflows'
import { counted } from '../core/numbers'

/** Windows that are named in the failure. */
const NAMED = 20
const DAY = 86_400_000

/** Counts closed windows anew from the log, and compares Postgres with it, row by row. Fails where they differ. */
export async function verify(input: VerifyInput): Promise<VerifySummary> {
  const { settings } = input
  const verified = input.carried ?? nothing()
  let underWay = ''
  const isFirst = () => underWay !== '' && verified.right + verified.wrong + verified.gone === 0
  const progress = () =>
    isFirst() ? `Now: ${underWay}.` : `${sentence(verified)}${underWay && ` Now: ${underWay}.`}`
  setHandler(recountProgress, progress)
  describeWhenAsked(progress)

  const selection = input.selection === 'yesterday' ? yesterday() : input.selection
  if (!input.carried && patched('missing'))
    verified.missing = (await batches.findMissing({ settings, ...selection })).map(formatInstant)
  if (!input.carried && patched('books'))
    verified.unsettled = await batches.findUnsettled({ settings, ...selection })
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
  if (!isTrouble(verified)) return { summary, ...verified }
  throw ApplicationFailure.nonRetryable(`${summary} ${remedy(verified)}`, DIFFERENCES, verified)
}
setWorkflowOptions(finishedByItsBuild, verify)

function isTrouble({ wrong, missing, lost = 0, unsettled = [] }: Verified): boolean {
  return wrong + missing.length + lost + unsettled.length > 0
}

function nothing(): Verified {
  return { right: 0, wrong: 0, gone: 0, windows: [], goneWindows: [], missing: [] }
}

function yesterday(): WindowSelection {
  const today = Math.floor(workflowInfo().startTime.getTime() / DAY) * DAY
  return { from: today - DAY, to: today }
}

function add(verified: Verified, batch: VerifiedBatch): void {
  const { right, wrong, gone, lost = [], withoutBooks = 0, accepted = { hits: 0, exceptions: 0 } } = batch
  verified.right += right
  verified.wrong += wrong.length
  verified.gone += gone.length
  verified.windows.push(...wrong.slice(0, NAMED - verified.windows.length))
  verified.lost = (verified.lost ?? 0) + lost.length
  const lostWindows = (verified.lostWindows ??= [])
  lostWindows.push(...lost.slice(0, NAMED - lostWindows.length))
  verified.withoutBooks = (verified.withoutBooks ?? 0) + withoutBooks
  const { hits, exceptions } = verified.accepted ?? { hits: 0, exceptions: 0 }
  verified.accepted = { hits: hits + accepted.hits, exceptions: exceptions + accepted.exceptions }
  verified.goneWindows.push(...gone.slice(0, NAMED - verified.goneWindows.length).map(formatInstant))
}

function sentence(verified: Verified): string {
  const { right, wrong, gone, missing, lost = 0, unsettled = [], withoutBooks = 0, accepted } = verified
  const looked = right + wrong + gone + lost > 0
  const sentences = [
    looked
      ? `${count(right, 'window is', 'windows are')} right, ${count(wrong, 'is', 'are')} not.`
      : 'There is no closed window to verify.',
    missing.length > 0 && `${count(missing.length, 'has', 'have')} no result in Postgres.`,
    unsettled.length > 0 &&
      `${count(unsettled.length, 'window', 'windows')} should be closed and have not arrived.`,
    lost > 0 && `${count(lost, 'has', 'have')} fewer hits in Kafka than were counted.`,
    gone > 0 && `${gone} cannot be verified, since Kafka no longer has all of their records.`,
    accepted &&
      accepted.hits + accepted.exceptions > 0 &&
      `${counted(accepted.hits, 'hit')} and ${counted(accepted.exceptions, 'late or rejected record')} were accepted as lost before.`,
    withoutBooks > 0 && `${count(withoutBooks, 'has', 'have')} no books, since an older release closed them.`,
  ]
  return sentences.filter(sentence => typeof sentence === 'string').join(' ')
}

function count(n: number, one: string, more: string): string {
  return `${n} ${n === 1 ? one : more}`
}

function remedy({ windows, missing, lostWindows = [], unsettled = [] }: Verified): string {
  const [unbalanced, others] = [
    windows.filter(window => window.balance),
    windows.filter(window => !window.balance),
  ]
  const starts = (list: { start: number }[]) => list.map(({ start }) => formatInstant(start))
  const toRepair = [
    ...new Set([...starts(unbalanced), ...starts(unsettled.filter(({ balance }) => balance))]),
  ]
  const silent = starts(unsettled.filter(({ balance }) => !balance))
  return [
    missing.length > 0 &&
      `Write again what Postgres has lost with "web-traffic recover --since" and the time of its backup (missing: ${named(missing)}).`,
    toRepair.length > 0 && `Count ${command('repair', toRepair)}.`,
    silent.length > 0 && `"web-traffic windows" says what keeps ${named(silent)}.`,
    lostWindows.length > 0 &&
      `Keep ${named(starts(lostWindows))} as Postgres has them: Kafka has other records now at their offsets.`,
    others.length > 0 && `Count ${command('replay', starts(others))}.`,
  ]
    .filter(sentence => typeof sentence === 'string')
    .join(' ')
}

/** `it again with "web-traffic replay 2026-01-31T12:05:00Z"`: for people. */
function command(name: string, starts: string[]): string {
  const [first, ...others] = starts
  const also = others.length > 0 ? ` (also ${others.join(', ')})` : ''
  return `${starts.length === 1 ? 'it' : 'them'} again with "web-traffic ${name} ${first}"${also}`
}

function named(windows: string[]): string {
  return `${windows.slice(0, NAMED).join(', ')}${windows.length > NAMED ? ' …' : ''}`
}
