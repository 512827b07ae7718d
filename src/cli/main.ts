import { existsSync } from 'node:fs'
import { completeEnvironment } from '../config'
import { UserError } from '../errors'
import { beginTracing, endTracing, traced } from '../telemetry/tracing'
import { commandLine, COMMANDS } from './commands'

/** The addresses of the running development cluster, if there is one. */
async function clusterEnvironment(): Promise<Record<string, string> | undefined> {
  const folder = process.env.WEB_TRAFFIC_CLUSTER_DIR ?? '.cluster'
  if (!existsSync(folder)) return undefined
  return (await import('../dev/cluster/environment.js')).clusterEnvironment(folder)
}

async function main(): Promise<void> {
  const name = process.argv[2] ?? ''
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!entry?.ownServers) await completeEnvironment(clusterEnvironment)
  const program = await commandLine(entry && [entry])
  const isTraced = entry?.traced ?? false
  if (!isTraced && name !== 'worker') {
    await program.parseAsync()
    return
  }
  await beginTracing()
  await (isTraced ? traced(`web-traffic ${name}`, () => program.parseAsync()) : program.parseAsync())
  // Spans that cannot be delivered in time must not keep the process alive.
  if (!(await endTracing())) process.exit()
}

main().catch(async (error: unknown) => {
  // A UserError is one line that a person can act on. Anything else is a defect and needs its stack.
  console.error(error instanceof UserError ? error.message : error)
  await endTracing()
  // An abandoned attempt may still be running.
  process.exit(1)
})
