import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { stopCluster } from '../cluster/down'
import { hasEnded } from '../cluster/end-process'
import { OwnedCluster } from '../cluster/owned-cluster'
import { endWorker, spawnWorker } from '../program'

/** The servers and the worker of a demo, as processes that end with this one, even if it is killed. */
export class Stage {
  private cluster: OwnedCluster | undefined
  private worker: ChildProcess | undefined

  constructor(readonly dir: string) {}

  get workerLog(): string {
    return join(this.dir, 'worker.log')
  }

  /** Starts a new cluster; returns the environment variables that its clients need. */
  async startCluster(report: (line: string) => void, signal: AbortSignal): Promise<Record<string, string>> {
    // An earlier demo that was killed together with its cluster command may have left its servers running.
    await stopCluster(this.dir).catch(() => undefined)
    this.cluster = new OwnedCluster(this.dir, [], report)
    return this.cluster.untilUp(signal)
  }

  startWorker(): void {
    this.worker = spawnWorker(this.workerLog, process.env)
  }

  /** Whether the worker has ended unexpectedly. */
  get workerEnded(): boolean {
    return this.worker !== undefined && hasEnded(this.worker)
  }

  /** Stops the worker before the servers that it drains into. */
  async end(): Promise<void> {
    if (this.worker) await endWorker(this.worker)
    await this.cluster?.end()
  }
}
