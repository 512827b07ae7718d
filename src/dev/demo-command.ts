import { Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../core/duration'
import { interruption } from '../terminal/interruption'

interface Flags {
  for?: number
  log?: string
  host: string
  rate: number
}

export function demoCommand(): Command {
  return new Command('demo')
    .description('run the whole pipeline on its own servers, with live traffic or your log, until Ctrl-C')
    .option(
      '--for <duration>',
      'stop after this time, such as 60s, and check that every record was counted',
      length,
    )
    .option(
      '--log <file>',
      'an access log in combined format instead of live traffic, in windows of five minutes',
    )
    .option('--host <name>', 'with --log: the host of the log', 'localhost')
    .option('--rate <n>', 'live events per second', rate, 500)
    .action(async (flags: Flags) => {
      const { runDemo } = await import('./demo/demo.js')
      const settled = await runDemo({
        signal: interruption(),
        rate: flags.rate,
        host: flags.host,
        ...(flags.for !== undefined && { duration: flags.for }),
        ...(flags.log !== undefined && { log: flags.log }),
      })
      if (!settled) process.exitCode = 1
    })
}

/** A duration, or a number of seconds; milliseconds. */
function length(text: string): number {
  const duration = parseDuration(text) ?? parseDuration(`${text}s`)
  if (duration) return duration
  throw new InvalidArgumentError('It must be a duration such as 60s or 5m.')
}

function rate(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It must be a whole number from 1 to 999999.')
}
