import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const LONGEST_SHOWN = 160

export interface Command {
  file: string
  args: string[]
  environment?: NodeJS.ProcessEnv
  cwd?: string
  uid?: number
  gid?: number
}

export interface Outcome {
  ok: boolean
  /** What it printed, standard output first. */
  output: string
}

/** Runs a command to its end. A command that fails or cannot be started is an outcome; an abort is thrown. */
export function run(command: Command, timeoutMs: number, signal?: AbortSignal): Promise<Outcome> {
  signal?.throwIfAborted()
  return new Promise((resolve, reject) => {
    const { file, args, environment, cwd, uid, gid } = command
    const options = { env: environment, cwd, uid, gid, timeout: timeoutMs, signal, maxBuffer: 1 << 24 }
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      if (!signal?.aborted) {
        resolve({ ok: error === null, output: `${stdout}\n${stderr}`.trim() || (error?.message ?? '') })
        return
      }
      // An abort is told before the child has gone; what it writes may be removed only after.
      const ended = child.pid === undefined || child.exitCode !== null || child.signalCode !== null
      const give = () => reject(signal.reason as Error)
      if (ended) give()
      else child.once('exit', give)
    })
    child.stdin?.end()
  })
}

/** The program of that name on the environment's PATH. */
export function findOnPath(name: string, environment: NodeJS.ProcessEnv): string | undefined {
  const folders = (environment.PATH ?? '').split(delimiter).filter(folder => folder !== '')
  return folders.map(folder => join(folder, name)).find(isExecutable)
}

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The last line that says something, cut to fit a one-line message. */
export function lastLine(output: string): string {
  const lines = output.split('\n').map(line => line.trim())
  const last = lines.filter(line => line !== '').at(-1) ?? ''
  return last.length > LONGEST_SHOWN ? `${last.slice(0, LONGEST_SHOWN)}…` : last
}
