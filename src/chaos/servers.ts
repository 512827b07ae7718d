import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { clusterEnvironment, type ComponentName } from '../cluster'
import { anyFreePort } from '../cluster/ports'
import { isAlive, type ProcessIdentity } from '../cluster/process-identity'
import { readState } from '../cluster/state'
import { UserError } from '../cli/errors'
import { holdProcesses } from './held-processes'

export const program = join(__dirname, '..', '..', 'bin', 'web-traffic.js')

/**
 * Kafka, Temporal and Postgres of one seed, by the product's own cluster command. Each run of it is a child whose
 * input is a pipe of this process: it takes down what it started when this process ends, however it ends.
 */
export class Servers {
  private readonly commands: ChildProcess[] = []
  private ports: string[] | undefined

  constructor(readonly dir: string) {}

  /** Starts what does not run, on the ports and the data it had before; what runs stays as it is. */
  async start(): Promise<void> {
    // Not the usual ports: while a server is away, another cluster on this machine could take them.
    this.ports ??= await choosePorts()
    const args = ['cluster', 'up', '--dir', this.dir, '--ephemeral', '--watch-stdin', ...this.ports]
    const command = spawn(process.execPath, [program, ...args], {
      stdio: 'pipe',
      // Ctrl-C reaches this process first, and the servers by the end of the command's input.
      detached: true,
      env: withoutAddresses(process.env),
    })
    this.commands.push(command)
    const lines: string[] = []
    await new Promise<void>((resolve, reject) => {
      for (const stream of [command.stdout, command.stderr])
        createInterface(stream).on('line', line => {
          lines.push(line)
          if (line.startsWith('Ctrl-C')) resolve()
        })
      command.once('exit', () => reject(new UserError(`The cluster did not start: ${lines.join(' | ')}`)))
    })
  }

  get environment(): Record<string, string> {
    const environment = clusterEnvironment(this.dir)
    if (!environment) throw new Error(`the cluster in ${this.dir} is not up`)
    return environment
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
    await Promise.all(this.commands.map(command => endCommand(command)))
  }
}

async function choosePorts(): Promise<string[]> {
  const options = ['--kafka-port', '--temporal-port', '--temporal-ui-port', '--postgres-port']
  const ports = await Promise.all(options.map(async option => [option, String(await anyFreePort())]))
  return ports.flat()
}

async function endCommand(command: ChildProcess): Promise<void> {
  if (command.exitCode !== null || command.signalCode !== null) return
  const exited = once(command, 'exit')
  command.stdin!.end()
  await exited
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** A process and everything it started that still runs, parents first: Postgres has a process a session. */
async function processTree(root: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid='])
  const pairs = stdout
    .trim()
    .split('\n')
    .map(line => line.trim().split(/\s+/).map(Number))
  const tree = [root]
  for (const parent of tree) for (const [pid, ppid] of pairs) if (ppid === parent) tree.push(pid!)
  return tree
}

/** A seed has servers of its own: it never touches those that the environment names. */
function withoutAddresses(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const named = /^(KAFKA|POSTGRES|TEMPORAL)_/
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !named.test(name)))
}
