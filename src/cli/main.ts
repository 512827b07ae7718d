import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { completeEnvironment } from '../config'
import { UserError } from '../errors'
import { beginTracing, endTracing, traced } from '../telemetry/tracing'
import { COMMANDS } from './commands'

const name = process.argv[2] ?? ''
const asked = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined

/** The running development cluster's addresses; undefined where there is none. */
async function clusterEnvironment(): Promise<Record<string, string> | undefined> {
  const folder = process.env.WEB_TRAFFIC_CLUSTER_DIR ?? '.cluster'
  if (!existsSync(folder)) return undefined
  return (await import('../dev/cluster/environment.js')).clusterEnvironment(folder)
}

async function commandLine(): Promise<Command> {
  const program = new Command('web-traffic')
    .description(
      'Web events from Kafka, counted per event-time window by Temporal workflows, written once to Postgres',
    )
    .showHelpAfterError('(add --help for the options)')
  const entries = asked ? [asked] : Object.values(COMMANDS)
  for (const command of await Promise.all(entries.map(({ load }) => load()))) program.addCommand(command)
  return program
}

async function main(): Promise<void> {
  if (!asked?.ownServers) await completeEnvironment(clusterEnvironment)
  const program = await commandLine()
  if (!asked?.traced && name !== 'worker') {
    await program.parseAsync()
    return
  }
  await beginTracing()
  if (asked?.traced) await traced(`web-traffic ${name}`, () => program.parseAsync())
  else await program.parseAsync()
  // A delivery of spans that takes too long is given up.
  if (!(await endTracing())) process.exit()
}

main().catch(async (error: unknown) => {
  // A person can act on a UserError, in one line. Anything else is a defect, and its stack says where it came from.
  console.error(error instanceof UserError ? error.message : error)
  await endTracing()
  // At once: an activity that was given up on may still be trying.
  process.exit(1)
})
