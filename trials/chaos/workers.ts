import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { endWorker, spawnWorker } from '../../src/dev/program'

export interface WorkerProcess {
  child: ChildProcess
  log: string
}

/** The worker processes of a pipeline; they end when this process does. */
export class Workers {
  private readonly running = new Set<WorkerProcess>()
  private started = 0
  /** A line for each worker that died without being killed or stopped: no fault of a server may cause that. */
  readonly diedUnexpectedly: string[] = []

  constructor(
    private readonly logs: string,
    private readonly environment: NodeJS.ProcessEnv,
    /** For every second worker. */
    private readonly relayed: NodeJS.ProcessEnv = {},
  ) {
    mkdirSync(logs, { recursive: true })
  }

  get count(): number {
    return this.running.size
  }

  start(): WorkerProcess {
    const name = `worker-${++this.started}`
    const log = join(this.logs, `${name}.log`)
    const relayed = this.started % 2 === 1 ? this.relayed : {}
    const child = spawnWorker(log, { ...this.environment, ...relayed })
    const worker = { child, log }
    this.running.add(worker)
    child.once('exit', (code, signal) => {
      if (this.running.delete(worker)) this.diedUnexpectedly.push(`${name} died: ${code ?? signal}`)
    })
    return worker
  }

  /** The worker at an index, modulo the number of workers. */
  pick(victim: number): WorkerProcess {
    const workers = [...this.running]
    const worker = workers[victim % workers.length]
    if (!worker) throw new Error(`no worker is left: ${this.diedUnexpectedly.join(', ')}`)
    return worker
  }

  async kill(worker: WorkerProcess): Promise<void> {
    if (!this.running.delete(worker)) return
    const exited = once(worker.child, 'exit')
    worker.child.kill('SIGKILL')
    await exited
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.running].map(worker => this.kill(worker)))
  }

  /**
   * Stops a worker with SIGTERM once it is ready; resolves when it has drained.
   *
   * @throws Error if it ends with another code than 0, or takes too long and is killed
   */
  async stop(worker: WorkerProcess): Promise<void> {
    await this.untilReady(worker)
    if (!this.running.delete(worker)) return
    await endWorker(worker.child)
    const { exitCode, signalCode } = worker.child
    if (exitCode !== 0) throw new Error(`a worker ended with ${exitCode ?? signalCode} after SIGTERM`)
  }

  async untilReady(worker: WorkerProcess): Promise<void> {
    while (this.running.has(worker) && !readFileSync(worker.log, 'utf8').includes('the worker is ready'))
      await sleep(100)
  }
}
