import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../package-root'
import { endProcess } from './cluster/end-process'

/** The file that users run as `web-traffic`. */
export const program = join(packageRoot(), 'bin', 'web-traffic.js')

/**
 * The options in the first line of `bin/web-traffic.js`. A single thread collects garbage, because nearly all objects
 * die young and four threads would use a quarter more CPU. Two allocation arenas keep memory small.
 */
const NODE_OPTIONS = ['--single-threaded-gc', '--max-semi-space-size=16']
const MALLOC_OPTIONS = { MALLOC_ARENA_MAX: '2' }

/** Starts a worker that appends its output to a file. It drains when this process ends, even if that is killed. */
export function spawnWorker(log: string, environment: NodeJS.ProcessEnv): ChildProcess {
  const output = openSync(log, 'a')
  const worker = spawn(process.execPath, [...NODE_OPTIONS, program, 'worker'], {
    stdio: ['ignore', output, output, 'ipc'],
    // Ctrl-C must reach only this process, which stops the worker before the servers.
    detached: true,
    env: { ...MALLOC_OPTIONS, ...environment },
  })
  closeSync(output)
  return worker
}

/** Stops a worker; resolves when it has drained, at the latest after 75 s, when it is killed. */
export function endWorker(worker: ChildProcess): Promise<void> {
  return endProcess(worker, worker => worker.kill('SIGTERM'), 75_000)
}
