import { execFile, fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { program } from '../../src/dev/program'

export interface Outcome {
  stdout: string
  stderr: string
  code: number
}

type Environment = Record<string, string>

const SERVER = join(__dirname, 'command-server.js')
/** These run for long or start servers: each gets a process of its own, as users run it. */
const OWN_PROCESS = new Set(['produce', 'worker', 'dashboard', 'demo', 'cluster'])

/** Processes that wait for a command. */
const idle: ChildProcess[] = []

/**
 * Runs a command of `web-traffic` from the build. Most run in a process that stays for the next one: loading their
 * modules takes longer than what they do.
 */
export async function runCommand(args: string[], environment: Environment): Promise<Outcome> {
  const isTraced = Object.keys(environment).some(name => name.startsWith('OTEL_'))
  if (OWN_PROCESS.has(args[0] ?? '') || isTraced) return runProcess(args, environment)
  const server = idle.pop() ?? startServer()
  const settled = new AbortController()
  const { signal } = settled
  try {
    server.channel?.ref()
    const answered = once(server, 'message', { signal }) as Promise<[Outcome]>
    const exited = once(server, 'exit', { signal }).then(([code]) => {
      throw new Error(`the process that runs commands exited with ${String(code)}`)
    })
    server.send({ args, environment })
    const [outcome] = await Promise.race([answered, exited])
    server.channel?.unref()
    idle.push(server)
    return outcome
  } catch (error) {
    server.kill('SIGKILL')
    throw error
  } finally {
    settled.abort()
  }
}

/** It ends with this process, which its channel tells it. */
function startServer(): ChildProcess {
  const server = fork(SERVER, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  server.unref()
  return server
}

/** Runs a command in a process of its own. */
export function runProcess(args: string[], environment: Environment): Promise<Outcome> {
  return new Promise(resolve =>
    execFile(
      process.execPath,
      [program, ...args],
      { env: environment, maxBuffer: 64 << 20 },
      (error, stdout, stderr) => resolve({ stdout, stderr, code: error ? Number(error.code ?? 1) : 0 }),
    ),
  )
}
