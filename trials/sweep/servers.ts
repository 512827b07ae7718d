import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OwnedCluster } from '../../src/dev/cluster/owned-cluster'

/** The servers that all points share, and a folder for logs. */
export class SweepServers {
  private readonly folder = mkdtempSync(join(tmpdir(), 'web-traffic-sweep-'))
  private cluster: OwnedCluster | undefined
  private clusters = 0
  private hasLogs = false

  constructor(private readonly signal: AbortSignal) {}

  /** Starts the servers if they do not run; returns the folder for the workers' logs. */
  async start(): Promise<string> {
    if (!this.cluster) {
      this.cluster = new OwnedCluster(join(this.folder, `cluster-${++this.clusters}`))
      Object.assign(process.env, await this.cluster.untilUp(this.signal))
    }
    return join(this.folder, 'logs')
  }

  /** Keeps the logs of a point's workers, and those of the servers so far. */
  keepLogs(point: number): void {
    this.hasLogs = true
    const logs = join(this.folder, 'logs', `point-${point}`)
    const serverLogs = this.cluster && join(this.cluster.dir, 'logs')
    if (serverLogs && existsSync(serverLogs)) cpSync(serverLogs, logs, { recursive: true })
    console.log(`  logs: ${logs}`)
  }

  removeLogs(point: number): void {
    rmSync(join(this.folder, 'logs', `point-${point}`), { recursive: true, force: true })
  }

  async end(): Promise<void> {
    const { cluster } = this
    this.cluster = undefined
    await cluster?.end()
  }

  removeFolder(): void {
    if (!this.hasLogs) rmSync(this.folder, { recursive: true, force: true })
  }
}
