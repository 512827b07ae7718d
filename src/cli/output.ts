import type { Command } from 'commander'
import type { LostWindow } from '../contract/activities'
import { formatInstant } from '../core/window/tumbling-window'
import { table } from '../terminal/table'
import { time } from './options'

/** Prints a result as JSON if `--json` was passed, and as text otherwise. */
export function print<T>(result: T, json: true | undefined, describe: (result: T) => string): void {
  console.log(json ? JSON.stringify(result, null, 2) : describe(result))
}

/** Progress goes to standard error, which leaves standard output to the result. */
export const printProgress = (line: string) => console.error(line)

/** Adds what `verify` and `replay` have in common: the choice of closed windows, and the form of the output. */
export function withWindowChoice(command: Command): Command {
  return command
    .argument('[window]', 'any time in a window, such as 2026-01-31T12:05:00Z; selects that window', time)
    .option('--from <time>', 'only windows that start at this time or later', time)
    .option('--to <time>', 'only windows that end at this time or earlier', time)
    .option('--detach', 'return at once; the Temporal Web UI shows the progress')
    .option('--json', 'print as JSON')
}

/** Lines on the windows whose records Kafka no longer has. */
export function describeGone(gone: number, named: string[]): string[] {
  return gone === 0 ? [] : ['', `Gone from Kafka: ${named.join(', ')}${gone > named.length ? ' …' : ''}`]
}

/** Lines on the windows for which Kafka has fewer hits than were counted. */
export function describeLost(lost: number, named: LostWindow[]): string[] {
  if (lost === 0) return []
  const rows = named.map(({ start, expected, counted }) => [formatInstant(start), expected, counted])
  return [
    '',
    'Kafka has lost hits of these windows. Postgres keeps them; "replay --accept-loss" would publish what is left:',
    table(['window (UTC)', 'hits counted', 'hits in Kafka'], rows),
    ...(lost > named.length ? [`and ${lost - named.length} more`] : []),
  ]
}
