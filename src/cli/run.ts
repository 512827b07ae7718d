import { existsSync } from 'node:fs'
import { completeEnvironment, loadConfig } from '../config'
import { UserError } from '../errors'
import { beginTracing, endTracing, traced } from '../telemetry/tracing'
import { commandLine, COMMANDS } from './commands'

/**
 * Runs `web-traffic` with these arguments. A failure is printed to standard error: as one line if a person can fix it,
 * and with its stack if it is a defect.
 *
 * @returns whether the process must exit now, with `process.exitCode`: work that was given up may still be running
 */
export async function run(args: string[]): Promise<boolean> {
  try {
    return !(await runCommand(args))
  } catch (error) {
    console.error((await explain(error)) ?? error)
    await endTracing()
    process.exitCode = 1
    return true
  }
}

/** One line that says what to do; undefined for a defect. */
async function explain(error: unknown): Promise<string | undefined> {
  if (error instanceof UserError) return error.message
  try {
    const { serverFailure } = await import('../pipeline/server-failure.js')
    return await serverFailure(error, loadConfig())
  } catch {
    return undefined
  }
}

/** @returns whether all spans were delivered */
async function runCommand(args: string[]): Promise<boolean> {
  const name = args[0] ?? ''
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!entry?.ownServers) await completeEnvironment(clusterEnvironment)
  const program = await commandLine(entry && [entry])
  const parse = () => program.parseAsync(args, { from: 'user' })
  if (!entry?.traced && name !== 'worker') {
    await parse()
    return true
  }
  await beginTracing()
  if (entry?.traced) await traced(`web-traffic ${name}`, parse)
  else await parse()
  return endTracing()
}

/** The running development cluster's addresses; undefined if there is none. */
async function clusterEnvironment(): Promise<Record<string, string> | undefined> {
  const folder = process.env.WEB_TRAFFIC_CLUSTER_DIR ?? '.cluster'
  if (!existsSync(folder)) return undefined
  return (await import('../dev/cluster/environment.js')).clusterEnvironment(folder)
}
