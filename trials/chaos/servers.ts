import { setTimeout as sleep } from 'node:timers/promises'
import type { ComponentName } from '../../src/dev/cluster'
import { OwnedCluster } from '../../src/dev/cluster/owned-cluster'
import { anyFreePort } from '../../src/dev/cluster/ports'
import { isAlive, type ProcessIdentity } from '../../src/dev/cluster/process-identity'
import { processTree } from '../../src/dev/cluster/process-tree'
import { readState } from '../../src/dev/cluster/state'
import { holdProcesses } from './held-processes'

/** Kafka, Temporal and Postgres of one seed, on ports and data that they keep when they are killed and started again. */
export class Servers {
  private readonly clusters: OwnedCluster[] = []
  private ports: string[] | undefined

  constructor(readonly dir: string) {}

  /** Starts what does not run; what runs stays as it is. */
  async start(signal?: AbortSignal): Promise<void> {
    // Not the usual ports: while a server is away, another cluster on this machine could take them.
    this.ports ??= await choosePorts()
    const cluster = new OwnedCluster(this.dir, this.ports)
    this.clusters.push(cluster)
    await cluster.untilUp(signal)
  }

  get environment(): Record<string, string> {
    const [cluster] = this.clusters
    if (!cluster) throw new Error('the servers were not started')
    return cluster.environment
  }

  /** Kills a server with all its processes, and resolves when it is gone. */
  async kill(name: ComponentName): Promise<void> {
    const server = this.processOf(name)
    for (const pid of await processTree(server.pid)) killIfThere(pid)
    while (isAlive(server)) await sleep(20)
  }

  /** Stops a server with all its processes; the function that is returned lets it go on. */
  async hold(name: ComponentName): Promise<() => Promise<void>> {
    return holdProcesses(await processTree(this.processOf(name).pid))
  }

  private processOf(name: ComponentName): ProcessIdentity {
    const server = readState(this.dir)?.components[name]?.process
    if (!isAlive(server)) throw new Error(`${name} does not run`)
    return server!
  }

  /** Takes everything down and removes the folder. */
  async end(): Promise<void> {
    await Promise.all(this.clusters.map(cluster => cluster.end()))
  }
}

async function choosePorts(): Promise<string[]> {
  const options = ['--kafka-port', '--temporal-port', '--temporal-ui-port', '--postgres-port']
  const ports = await Promise.all(options.map(async option => [option, String(await anyFreePort())]))
  return ports.flat()
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
