import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'

/** What users run as `web-traffic`; for programs that run its commands as processes of their own. */
export const program = join(__dirname, '..', '..', 'bin', 'web-traffic.js')

/** A worker whose output goes to the end of a file, and that drains when this process ends, however it ends. */
export function spawnWorker(log: string, environment: NodeJS.ProcessEnv): ChildProcess {
  const output = openSync(log, 'a')
  const worker = spawn(process.execPath, [program, 'worker'], {
    stdio: ['ignore', output, output, 'ipc'],
    // Ctrl-C reaches this process first, which decides what ends when.
    detached: true,
    env: environment,
  })
  closeSync(output)
  return worker
}
