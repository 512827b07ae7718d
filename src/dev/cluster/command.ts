import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const MAX_LINE_LENGTH = 160

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
  /** Standard output, then standard error. */
  output: string
}

/** Runs a command. Resolves also if it fails or cannot be started; rejects only if it is aborted. */
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
      // Node reports an abort before the child has ended. Until then the child may still write its files.
      const ended = child.pid === undefined || child.exitCode !== null || child.signalCode !== null
      const abort = () => reject(signal.reason as Error)
      if (ended) abort()
      else child.once('exit', abort)
    })
    child.stdin?.end()
  })
}

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

/** The last line that is not blank, shortened to fit an error message. */
export function lastLine(output: string): string {
  const lines = output.split('\n').map(line => line.trim())
  const last = lines.filter(line => line !== '').at(-1) ?? ''
  return last.length > MAX_LINE_LENGTH ? `${last.slice(0, MAX_LINE_LENGTH)}…` : last
}
