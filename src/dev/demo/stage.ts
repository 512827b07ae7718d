import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { endWorker, spawnWorker } from '../program'
import { clusterDown } from '../cluster'
import { OwnedCluster } from '../cluster/owned-cluster'
import { hasEnded } from '../cluster/end-process'

/** The servers and the worker of a demo: processes of their own, which end with it even if it is killed. */
export class Stage {
  private cluster: OwnedCluster | undefined
  private worker: ChildProcess | undefined

  constructor(readonly dir: string) {}

  get workerLog(): string {
    return join(this.dir, 'worker.log')
  }

  /** Brings up a new cluster; what it reports is passed on line by line. The environment to reach it. */
  async startCluster(report: (line: string) => void, signal: AbortSignal): Promise<Record<string, string>> {
    // A demo that was killed together with its cluster command may have left its servers.
    await clusterDown(this.dir).catch(() => undefined)
    this.cluster = new OwnedCluster(this.dir, [], report)
    return this.cluster.untilUp(signal)
  }

  startWorker(): void {
    this.worker = spawnWorker(this.workerLog, process.env)
  }

  /** Whether the worker has ended although nobody asked it to. */
  get workerEnded(): boolean {
    return this.worker !== undefined && hasEnded(this.worker)
  }

  /** The worker first, so that it drains into servers that are still there. */
  async end(): Promise<void> {
    if (this.worker) await endWorker(this.worker)
    await this.cluster?.end()
  }
}
