import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { endProcess } from '../cluster/end-process'

/** What users run as `web-traffic`; for programs that run its commands as processes of their own. */
export const program = join(__dirname, '..', '..', 'bin', 'web-traffic.js')

/**
 * A worker whose output goes to the end of a file, and that drains when this process ends, however it ends.
 * Small spaces for what is young, and few for what threads allocate apart: a tenth less memory, and no more time.
 */
export function spawnWorker(log: string, environment: NodeJS.ProcessEnv): ChildProcess {
  const output = openSync(log, 'a')
  const worker = spawn(process.execPath, ['--max-semi-space-size=8', program, 'worker'], {
    stdio: ['ignore', output, output, 'ipc'],
    // Ctrl-C reaches this process first, which decides what ends when.
    detached: true,
    env: { MALLOC_ARENA_MAX: '2', ...environment },
  })
  closeSync(output)
  return worker
}

/** Resolves when the worker has drained. */
export function endWorker(worker: ChildProcess): Promise<void> {
  return endProcess(worker, worker => worker.kill('SIGTERM'))
}
