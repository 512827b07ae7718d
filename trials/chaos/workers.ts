import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnWorker } from '../../src/dev/program'

/** How long a worker may take to drain after SIGTERM, milliseconds. */
const DRAINED_WITHIN = 60_000

export interface WorkerProcess {
  child: ChildProcess
  log: string
}

/** The worker processes of a seed; each ends when this process does. */
export class Workers {
  private readonly running = new Set<WorkerProcess>()
  private started = 0
  /** Workers that nobody ended: nothing that happens to the servers may end one. */
  readonly endedByThemselves: string[] = []

  constructor(
    private readonly logs: string,
    private readonly environment: NodeJS.ProcessEnv,
  ) {
    mkdirSync(logs, { recursive: true })
  }

  get count(): number {
    return this.running.size
  }

  start(): WorkerProcess {
    const name = `worker-${++this.started}`
    const log = join(this.logs, `${name}.log`)
    const child = spawnWorker(log, this.environment)
    const worker = { child, log }
    this.running.add(worker)
    child.once('exit', (code, signal) => {
      if (this.running.delete(worker))
        this.endedByThemselves.push(`${name} ended by itself: ${code ?? signal}`)
    })
    return worker
  }

  pick(victim: number): WorkerProcess {
    const workers = [...this.running]
    const worker = workers[victim % workers.length]
    if (!worker) throw new Error(`no worker is left: ${this.endedByThemselves.join(', ')}`)
    return worker
  }

  async kill(worker: WorkerProcess): Promise<void> {
    await this.end(worker, 'SIGKILL')
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.running].map(worker => this.kill(worker)))
  }

  /** Ends a worker as an operator would, once it is at work, and resolves when it has drained. */
  async stop(worker: WorkerProcess): Promise<void> {
    await this.untilReady(worker)
    const timer = setTimeout(() => worker.child.kill('SIGKILL'), DRAINED_WITHIN)
    await this.end(worker, 'SIGTERM')
    clearTimeout(timer)
    const { exitCode, signalCode } = worker.child
    if (exitCode !== 0)
      throw new Error(`a worker that was told to drain ended with ${exitCode ?? signalCode}`)
  }

  async untilReady(worker: WorkerProcess): Promise<void> {
    while (this.running.has(worker) && !readFileSync(worker.log, 'utf8').includes('the worker is ready'))
      await sleep(100)
  }

  private async end(worker: WorkerProcess, signal: NodeJS.Signals): Promise<void> {
    if (!this.running.delete(worker)) return
    const exited = once(worker.child, 'exit')
    worker.child.kill(signal)
    await exited
  }
}
