import { setTimeout as sleep } from 'node:timers/promises'
import type { WorkflowHandle } from '@temporalio/client'
import { type Command } from 'commander'
import type { LostWindow } from '../contract/activities'
import type { WindowSelection } from '../core/window/recount'
import type { PipelineSettings } from '../core/settings'
import { formatInstant, windowStart } from '../core/window/tumbling-window'
import { recountProgress } from '../contract/messages'
import { UserError } from '../errors'
import { table } from '../terminal/table'
import { timeOption } from './options'

export interface SelectionFlags {
  from?: number
  to?: number
  detach?: true
  json?: true
}

/** The options by which closed windows are named. */
export function withSelection(command: Command): Command {
  return command
    .argument('[window]', 'one window, by a time in it, such as 2026-01-31T12:05:00Z', timeOption)
    .option('--from <time>', 'windows that begin at this time or later', timeOption)
    .option('--to <time>', 'windows that end at this time or sooner', timeOption)
    .option('--detach', 'return at once; the Temporal Web UI shows how it goes on')
    .option('--json', 'print as JSON')
}

export function selectionOf(
  window: number | undefined,
  { from, to }: SelectionFlags,
  { windowSize }: PipelineSettings,
): WindowSelection {
  if (window !== undefined) {
    const start = windowStart(window, windowSize)
    return { from: start, to: start + windowSize }
  }
  return { ...(from !== undefined && { from }), ...(to !== undefined && { to }) }
}

/** `2026-01-31T12:00:00Z..2026-01-31T12:05:00Z`: a selection in a workflow's id. */
export function nameOf({ from, to, late, unlocated }: WindowSelection): string {
  const ends = [from, to].map(time => (time === undefined ? '' : formatInstant(time)))
  return `${ends.join('..')}${late ? ' late' : ''}${unlocated ? ' unlocated' : ''}`
}

/** @throws UserError where a window was named, and is not closed */
export function requireClosed(window: number | undefined, windows: number): void {
  if (window !== undefined && windows === 0)
    throw new UserError(
      `No closed window holds ${formatInstant(window)}: one that is open is written by its workflow, when it is over.`,
    )
}

/** The windows that Kafka no longer has all records of, in a line. */
export function describeGone(gone: number, named: string[]): string[] {
  return gone === 0 ? [] : ['', `Gone from Kafka: ${named.join(', ')}${gone > named.length ? ' …' : ''}`]
}

/** The windows of which Kafka has fewer hits than were counted, in lines. */
export function describeLost(lost: number, named: LostWindow[]): string[] {
  if (lost === 0) return []
  const rows = named.map(({ start, expected, counted }) => [formatInstant(start), expected, counted])
  return [
    '',
    'Lost in Kafka, and kept as they are in Postgres; --accept-loss would publish what is left:',
    table(['window (UTC)', 'hits counted', 'hits in Kafka'], rows),
    ...(lost > named.length ? [`and ${lost - named.length} more`] : []),
  ]
}

/** Prints how far a workflow is on standard error, a line whenever that changes, until it has ended. */
export async function follow<T>(handle: WorkflowHandle): Promise<T> {
  let ended = false
  const result = (handle.result() as Promise<T>).finally(() => (ended = true))
  result.catch(() => undefined)
  let printed = ''
  while (!ended) {
    await Promise.race([sleep(500), result.catch(() => undefined)])
    const progress = ended ? printed : await handle.query(recountProgress).catch(() => printed)
    if (progress !== printed) console.error(progress)
    printed = progress
  }
  return result
}
