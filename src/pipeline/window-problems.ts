import type { Client } from '@temporalio/client'
import { windowId } from '../contract/ids'
import {
  describeStuck,
  describeUnsettled,
  NAMED_UNSETTLED,
  type UnsettledWindow,
} from '../contract/unsettled'
import { countedAre } from '../core/numbers'
import { UserError } from '../errors'
import { blockedWorkflows, describeBlocked } from './blocked-workflows'
import { stuckWindows } from './visibility'
import { WindowClient } from './window-client'

/** What keeps windows and other workflows, except pollers, from their results; a sentence each. */
export async function windowProblems(
  client: Client,
  group: string,
  unsettled: UnsettledWindow[],
  windowSize: number,
): Promise<string[]> {
  const windows = new WindowClient(client, group, windowSize)
  const blocked = (await blockedWorkflows(client, group)).filter(({ type }) => type !== 'poller')
  const blockedIds = new Set(blocked.map(({ workflowId }) => workflowId))
  const isBlocked = (start: number) => blockedIds.has(windowId(group, start))
  const incomplete = new Set(unsettled.flatMap(({ start, balance }) => (balance ? [start] : [])))
  const stuck = (await stuckWindows(client, group)).filter(
    start => !isBlocked(start) && !incomplete.has(start),
  )
  const others = unsettled.filter(({ start }) => !isBlocked(start) && !stuck.includes(start))
  return [
    ...(await describeBlocked(client, blocked, windowSize)),
    ...(await describeFirst(others, 'incomplete or silent', window => unsettledProblem(windows, window))),
    ...(await describeFirst(stuck, 'stuck', start => stuckProblem(windows, start))),
  ]
}

async function describeFirst<T>(
  items: T[],
  state: string,
  describe: (item: T) => Promise<string | undefined>,
): Promise<string[]> {
  const described = await Promise.all(items.slice(0, NAMED_UNSETTLED).map(describe))
  const problems = described.filter(problem => problem !== undefined)
  const more = items.length - NAMED_UNSETTLED
  if (more > 0)
    problems.push(`${countedAre(more, 'more window')} ${state}: "web-traffic windows" lists them.`)
  return problems
}

/** A server that reports no blocked workflows knows the reason too, if asked about the window. */
async function unsettledProblem(windows: WindowClient, window: UnsettledWindow): Promise<string> {
  const trouble = window.balance ? undefined : await windows.troubleOf(window.start)
  return describeUnsettled(window, windows.windowSize) + (trouble ? ` ${trouble}` : '')
}

/** Undefined if the window has continued since it was listed. */
async function stuckProblem(windows: WindowClient, start: number): Promise<string | undefined> {
  try {
    const stuck = (await windows.progressOf(start))?.stuck
    return stuck && `${windows.nameOf(start)} is stuck: ${describeStuck(stuck)}`
  } catch (error) {
    if (error instanceof UserError) return error.message
    throw error
  }
}
