import type { Client } from '@temporalio/client'
import type { IngestStatus } from '../contract/messages'
import { windowStart } from '../contract/search-attributes'
import { formatInstant } from '../core/window/tumbling-window'

/** Late and rejected records, and pieces of a window, are in Postgres within seconds, ms. */
const RECORDED_WITHIN = 60_000

const STUCK = `WindowStatus = 'stuck'`

const running = (group: string, condition: string) =>
  `Pipeline = '${group}' AND ExecutionStatus = 'Running' AND ${condition}`

/** Starts of the windows that matching workflows belong to, epoch ms. */
async function runningWindows(client: Client, group: string, condition: string): Promise<number[]> {
  const starts: number[] = []
  const query = running(group, condition)
  for await (const { typedSearchAttributes } of client.workflow.list({ query })) {
    const start = typedSearchAttributes.get(windowStart)?.getTime()
    if (start !== undefined) starts.push(start)
  }
  return starts
}

/**
 * Windows that were told to close and have not ended, since Postgres has not accepted them yet.
 *
 * @returns the newest `limit` starts (epoch ms), oldest first
 */
export async function closingWindows(
  client: Client,
  { settings: { group, allowedLateness }, ledger, frontier }: IngestStatus,
  limit: number,
): Promise<number[]> {
  const open = new Set(ledger.openWindows)
  const over = frontier === null ? '' : ` OR WindowEnd <= '${formatInstant(frontier - allowedLateness)}'`
  const condition = `WorkflowType = 'window' AND (${STUCK}${over})`
  const found = await runningWindows(client, group, condition)
  return found
    .filter(start => !open.has(start))
    .sort((a, b) => a - b)
    .slice(-limit)
}

/** The starts of the stuck windows, oldest first. */
export async function stuckWindows(client: Client, group: string): Promise<number[]> {
  const starts = await runningWindows(client, group, STUCK)
  return starts.sort((a, b) => a - b)
}

export function countStuck(client: Client, group: string): Promise<number> {
  return countRunning(client, group, STUCK)
}

/** The number of workflows whose exceptions or pieces should be in Postgres by now. */
export function countWaiting(client: Client, group: string): Promise<number> {
  const before = new Date(Date.now() - RECORDED_WITHIN).toISOString()
  return countRunning(client, group, `WorkflowType IN ('exceptions', 'piece') AND StartTime < '${before}'`)
}

/** Whether any workflow still carries counts to Postgres, even if the ledger is gone. */
export async function hasUnderWay(client: Client, group: string): Promise<boolean> {
  return (await countRunning(client, group, `WorkflowType IN ('window', 'piece', 'exceptions')`)) > 0
}

async function countRunning(client: Client, group: string, condition: string): Promise<number> {
  return (await client.workflow.count(running(group, condition))).count
}
