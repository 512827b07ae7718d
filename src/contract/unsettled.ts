import type { ClosingWindow } from '../core/window/books'
import type { Balance } from '../core/window/protocol'
import { repairCommand } from './ids'
import { formatInstant, formatWindow } from '../core/window/tumbling-window'
import { counted, grouped } from '../core/numbers'

/** A window that should have closed, and has not answered that Postgres has all of it. Times are epoch ms. */
export interface UnsettledWindow {
  start: number
  /** When it was told to close first. */
  since: number
  /** What it was told and what it has, where it has answered: it is incomplete. Null where it has not. */
  balance: Balance | null
}

/** A window answers within seconds, unless it waits for Postgres. ms */
const ANSWERS_WITHIN = 120_000
/** Windows that are named; the others are counted. */
export const NAMED_UNSETTLED = 5

/** Windows that are incomplete, and those that have not answered for too long by `now` (epoch ms); oldest first. */
export function unsettledWindows(closing: ClosingWindow[], now: number): UnsettledWindow[] {
  const windows = new Map<number, UnsettledWindow>()
  for (const { start, since, balance = null } of closing) {
    const known = windows.get(start)
    if (!known) windows.set(start, { start, since, balance })
    else windows.set(start, { start, since: Math.min(since, known.since), balance: balance ?? known.balance })
  }
  return [...windows.values()]
    .filter(({ since, balance }) => balance !== null || now - since > ANSWERS_WITHIN)
    .sort((a, b) => a.start - b.start)
}

/** What is wrong with such a window, and what to do; in a sentence or two. */
export function describeUnsettled({ start, since, balance }: UnsettledWindow, windowSize: number): string {
  const name = `Window ${formatWindow(start, windowSize)}`
  if (!balance)
    return `${name} was told to close at ${formatInstant(since)} and has not answered: "web-traffic windows" says why.`
  const { told, accounted } = balance
  return (
    `${name} was told ${counted(told.hits, 'hit')} and ${counted(told.exceptions, 'late or rejected record')}, and has ` +
    `${grouped(accounted.hits)} and ${grouped(accounted.exceptions)}. ${repairCommand(start)}`
  )
}
