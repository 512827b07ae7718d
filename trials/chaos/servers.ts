import { setTimeout as sleep } from 'node:timers/promises'
import { OwnedCluster } from '../../src/dev/cluster/owned-cluster'
import { anyFreePort } from '../../src/dev/cluster/ports'
import {
  identify,
  isAlive,
  signalProcess,
  type ProcessIdentity,
} from '../../src/dev/cluster/process-identity'
import { processTree } from '../../src/dev/cluster/process-tree'
import { readState, type ComponentName } from '../../src/dev/cluster/state'
import { suspendProcesses } from './suspend-processes'

/** Kafka, Temporal and Postgres of one seed. They keep their ports and data when they are killed and restarted. */
export class Servers {
  private readonly clusters: OwnedCluster[] = []
  private ports: string[] | undefined

  constructor(readonly dir: string) {}

  /** Starts the servers that do not run. */
  async start(signal?: AbortSignal): Promise<void> {
    // Not the usual ports: while a server is down, another cluster on this machine could take them.
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

  /** Kills all processes of a server; resolves when it is gone. */
  async kill(name: ComponentName): Promise<void> {
    const server = this.processOf(name)
    for (const pid of await processTree(server.pid)) {
      const member = identify(pid)
      if (member) signalProcess(member, 'SIGKILL')
    }
    while (isAlive(server)) await sleep(20)
  }

  /** Suspends all processes of a server; returns a function that resumes them. */
  async suspend(name: ComponentName): Promise<() => Promise<void>> {
    return suspendProcesses(await processTree(this.processOf(name).pid))
  }

  private processOf(name: ComponentName): ProcessIdentity {
    const server = readState(this.dir)?.components[name]?.process
    if (!isAlive(server)) throw new Error(`${name} does not run`)
    return server!
  }

  /** Stops the servers and removes their folder. */
  async end(): Promise<void> {
    await Promise.all(this.clusters.map(cluster => cluster.end()))
  }
}

async function choosePorts(): Promise<string[]> {
  const options = ['--kafka-port', '--temporal-port', '--temporal-ui-port', '--postgres-port']
  const ports = await Promise.all(options.map(async option => [option, String(await anyFreePort())]))
  return ports.flat()
}
