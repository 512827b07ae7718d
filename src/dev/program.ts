import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../package-root'
import { endProcess } from './cluster/end-process'

/** What users run as `web-traffic`; for programs that run its commands as processes of their own. */
export const program = join(packageRoot(), 'bin', 'web-traffic.js')

/**
 * How Node runs a worker, as the first line of `bin/web-traffic.js` has it: one thread collects garbage, since nearly
 * all of it dies young and four that share that work cost a quarter more; and threads share what they allocate from.
 */
const NODE_OPTIONS = ['--single-threaded-gc', '--max-semi-space-size=16']
const MALLOC_OPTIONS = { MALLOC_ARENA_MAX: '2' }

/** A worker whose output goes to the end of a file, and that drains when this process ends, however it ends. */
export function spawnWorker(log: string, environment: NodeJS.ProcessEnv): ChildProcess {
  const output = openSync(log, 'a')
  const worker = spawn(process.execPath, [...NODE_OPTIONS, program, 'worker'], {
    stdio: ['ignore', output, output, 'ipc'],
    // Ctrl-C reaches this process first, which decides what ends when.
    detached: true,
    env: { ...MALLOC_OPTIONS, ...environment },
  })
  closeSync(output)
  return worker
}

/** Resolves when the worker has drained. */
export function endWorker(worker: ChildProcess): Promise<void> {
  return endProcess(worker, worker => worker.kill('SIGTERM'))
}
