import {
  ApplicationFailure,
  continueAsNew,
  patched,
  setWorkflowOptions,
  workflowInfo,
} from '@temporalio/workflow'
import { counted } from '../core/numbers'
import type { VerifiedBatch } from '../contract/activities'
import { joinSentences } from '../contract/markdown'
import { DIFFERENCES } from '../contract/messages'
import type { Verified, VerifyInput, VerifySummary } from '../contract/workflows'
import type { WindowSelection } from '../core/window/recount'
import { formatInstant } from '../core/window/tumbling-window'
import { finishedByItsBuild } from './builds'
import { addExamples, batches, Recount } from './recount'

/** How many windows of each kind the failure names. */
const MAX_NAMED = 20
const DAY = 86_400_000

/** Counts closed windows again from the log and compares Postgres row by row. Fails if they differ. */
export async function verify(input: VerifyInput): Promise<VerifySummary> {
  const { settings } = input
  const nothing = { right: 0, wrong: 0, gone: 0, windows: [], goneWindows: [], missing: [] }
  const verified: Verified = input.carried ?? nothing
  const recount = new Recount('verify', () => (hasCounted(verified) ? describe(verified) : ''))
  const selection = input.selection === 'yesterday' ? yesterday() : input.selection
  if (!input.carried && patched('missing'))
    verified.missing = (await batches.findMissing({ settings, ...selection })).map(formatInstant)
  if (!input.carried && patched('books'))
    verified.unsettled = await batches.findUnsettled({ settings, ...selection })
  await recount.run(
    settings,
    selection,
    async (starts, options) =>
      add(verified, await batches.verifyWindows.executeWithOptions(options, [{ settings, starts }])),
    rest => continueAsNew<typeof verify>({ ...input, selection: rest, carried: verified }),
  )
  const { wrong, missing, lost = 0, unsettled = [] } = verified
  const summary = describe(verified)
  if (wrong + missing.length + lost + unsettled.length === 0) return { summary, ...verified }
  throw ApplicationFailure.nonRetryable(`${summary} ${remedy(verified)}`, DIFFERENCES, verified)
}
setWorkflowOptions(finishedByItsBuild, verify)

function yesterday(): WindowSelection {
  const today = Math.floor(workflowInfo().startTime.getTime() / DAY) * DAY
  return { from: today - DAY, to: today }
}

function add(verified: Verified, batch: VerifiedBatch): void {
  const { right, wrong, gone, lost = [], withoutBooks = 0, accepted = { hits: 0, exceptions: 0 } } = batch
  verified.right += right
  verified.wrong += wrong.length
  verified.gone += gone.length
  verified.lost = (verified.lost ?? 0) + lost.length
  verified.withoutBooks = (verified.withoutBooks ?? 0) + withoutBooks
  const { hits, exceptions } = verified.accepted ?? { hits: 0, exceptions: 0 }
  verified.accepted = { hits: hits + accepted.hits, exceptions: exceptions + accepted.exceptions }
  addExamples(verified.windows, wrong, MAX_NAMED)
  addExamples((verified.lostWindows ??= []), lost, MAX_NAMED)
  addExamples(verified.goneWindows, gone.map(formatInstant), MAX_NAMED)
}

function hasCounted({ right, wrong, gone, lost = 0 }: Verified): boolean {
  return right + wrong + gone + lost > 0
}

function describe(verified: Verified): string {
  const { right, wrong, gone, missing, lost = 0, unsettled = [], withoutBooks = 0, accepted } = verified
  return joinSentences(
    hasCounted(verified)
      ? `${count(right, 'window is', 'windows are')} right, ${count(wrong, 'is', 'are')} not.`
      : 'There is no closed window to verify.',
    missing.length > 0 && `${count(missing.length, 'has', 'have')} no result in Postgres.`,
    unsettled.length > 0 && `${count(unsettled.length, 'window', 'windows')} should be closed and are not.`,
    lost > 0 && `${count(lost, 'has', 'have')} fewer hits in Kafka than were counted.`,
    gone > 0 && `${gone} cannot be verified because Kafka no longer has all of their records.`,
    accepted &&
      accepted.hits + accepted.exceptions > 0 &&
      `${counted(accepted.hits, 'hit')} and ${counted(accepted.exceptions, 'late or rejected record')} were accepted as lost before.`,
    withoutBooks > 0 &&
      `${count(withoutBooks, 'has', 'have')} no books because an older release closed them.`,
  )
}

function count(n: number, one: string, more: string): string {
  return `${n} ${n === 1 ? one : more}`
}

function remedy({ windows, missing, lostWindows = [], unsettled = [] }: Verified): string {
  const startsOf = (list: { start: number }[]) => list.map(({ start }) => formatInstant(start))
  const incomplete = [...windows, ...unsettled].filter(({ balance }) => balance)
  const toRepair = [...new Set(startsOf(incomplete))]
  const toReplay = startsOf(windows.filter(({ balance }) => !balance))
  const silent = startsOf(unsettled.filter(({ balance }) => !balance))
  return joinSentences(
    missing.length > 0 &&
      `Restore what Postgres has lost with "web-traffic recover --since" and the time of its backup (missing: ${named(missing)}).`,
    toRepair.length > 0 && countAgain('repair', toRepair),
    silent.length > 0 && `Run "web-traffic windows" to see why ${named(silent)} did not answer.`,
    lostWindows.length > 0 &&
      `Leave ${named(startsOf(lostWindows))} unchanged: Kafka now has other records at the offsets that were counted.`,
    toReplay.length > 0 && countAgain('replay', toReplay),
  )
}

/** `Count it again with "web-traffic replay 2026-01-31T12:05:00Z".` */
function countAgain(command: string, [first, ...others]: string[]): string {
  const also = others.length > 0 ? ` (also ${others.join(', ')})` : ''
  return `Count ${others.length > 0 ? 'them' : 'it'} again with "web-traffic ${command} ${first}"${also}.`
}

function named(windows: string[]): string {
  return `${windows.slice(0, MAX_NAMED).join(', ')}${windows.length > MAX_NAMED ? ' …' : ''}`
}
