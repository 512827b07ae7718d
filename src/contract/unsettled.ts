import type { ClosingWindow } from '../core/window/books'
import type { Balance } from '../core/window/protocol'
import { formatInstant, formatWindow } from '../core/window/tumbling-window'
import { counted, grouped } from '../core/numbers'
import { repairCommand } from './ids'
import type { Stuck } from './messages'

/** A window that should be closed, but has not answered that Postgres has all of it. Times are epoch ms. */
export interface UnsettledWindow {
  start: number
  /** When it was first sent the close signal. */
  since: number
  /** Its answer, if it is incomplete; null if it has not answered. */
  balance: Balance | null
}

/** A window answers within seconds, unless it waits for Postgres. ms */
const MAX_ANSWER_TIME = 120_000
/** How many unsettled windows a report names. */
export const NAMED_UNSETTLED = 5

/** Incomplete windows, and those whose answer is overdue at `now` (epoch ms); oldest first. */
export function unsettledWindows(closing: ClosingWindow[], now: number): UnsettledWindow[] {
  const windows = new Map<number, UnsettledWindow>()
  for (const { start, since, balance = null } of closing) {
    const known = windows.get(start) ?? { since, balance }
    windows.set(start, { start, since: Math.min(since, known.since), balance: balance ?? known.balance })
  }
  return [...windows.values()]
    .filter(({ since, balance }) => balance !== null || now - since > MAX_ANSWER_TIME)
    .sort((a, b) => a.start - b.start)
}

/** What is wrong with the window, and what to do. */
export function describeUnsettled({ start, since, balance }: UnsettledWindow, windowSize: number): string {
  const name = `Window ${formatWindow(start, windowSize)}`
  if (!balance)
    return `${name} was sent the close signal at ${formatInstant(since)} and has not answered. Run "web-traffic windows" to see why.`
  const { told, accounted } = balance
  return (
    `${name} should have ${counted(told.hits, 'hit')} and ${counted(told.exceptions, 'late or rejected record')}, and has ` +
    `${grouped(accounted.hits)} and ${grouped(accounted.exceptions)}. ${repairCommand(start)}`
  )
}

/** What a stuck window has tried, why that fails if it is known, and what to do. */
export function describeStuck({ step, since, reason, nextTry }: Stuck): string {
  const why = reason === undefined ? '' : ` ${reason}`
  const next =
    nextTry === undefined
      ? ''
      : ` Fix the cause and run "web-traffic retry". The next automatic retry is at ${formatInstant(nextTry)}.`
  return `it has tried to ${step} since ${formatInstant(since)}.${why}${next}`
}
