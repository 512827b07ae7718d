import { Command } from 'commander'
import { parseDuration } from '../core/duration'
import { UserError } from '../errors'
import { interruption } from '../terminal/interruption'

interface Flags {
  for?: string
  log?: string
  host: string
  rate: string
}

export function demoCommand(): Command {
  return new Command('demo')
    .description(
      'the whole pipeline on a cluster of its own, with live traffic or a log of yours, until Ctrl-C',
    )
    .option('--for <duration>', 'end by itself after this long, with a summary that adds up, such as 60s')
    .option(
      '--log <file>',
      'an access log (combined format) instead of live traffic, in windows of five minutes',
    )
    .option('--host <name>', 'with --log: the site of the log', 'localhost')
    .option('--rate <n>', 'live events a second', '500')
    .action(async (flags: Flags) => {
      const duration =
        flags.for === undefined ? undefined : (parseDuration(flags.for) ?? parseDuration(`${flags.for}s`))
      if (flags.for !== undefined && !duration)
        throw new UserError(`--for: "${flags.for}" is not a duration such as 60s or 5m.`)
      if (!/^[1-9]\d{0,5}$/.test(flags.rate))
        throw new UserError(`--rate: "${flags.rate}" is not a whole number above 0.`)
      const { runDemo } = await import('./demo/demo.js')
      const settled = await runDemo({
        signal: interruption(),
        rate: Number(flags.rate),
        host: flags.host,
        ...(duration !== undefined && { duration }),
        ...(flags.log !== undefined && { log: flags.log }),
      })
      if (!settled) process.exitCode = 1
    })
}
