import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { clusterDown, clusterEnvironment } from '../cluster'
import { UserError } from '../cli/errors'

const program = join(__dirname, '..', '..', 'bin', 'web-traffic.js')

/** The servers and the worker of a demo: processes of their own, which end with it even if it is killed. */
export class Stage {
  private cluster: ChildProcess | undefined
  private worker: ChildProcess | undefined

  constructor(readonly dir: string) {}

  get workerLog(): string {
    return join(this.dir, 'worker.log')
  }

  /** Brings up a new cluster; what it reports is passed on line by line. The environment to reach it. */
  async startCluster(report: (line: string) => void, signal: AbortSignal): Promise<Record<string, string>> {
    // A demo that was killed together with its cluster command may have left its servers.
    await clusterDown(this.dir).catch(() => undefined)
    const args = ['cluster', 'up', '--dir', this.dir, '--ephemeral', '--watch-stdin']
    // Its input is a pipe of this process: it closes with it. Not in the terminal's foreground group, so that
    // Ctrl-C reaches the servers only after the worker has drained.
    this.cluster = spawn(process.execPath, [program, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: withoutAddresses(process.env),
    })
    const lines: string[] = []
    for (const stream of [this.cluster.stdout!, this.cluster.stderr!])
      createInterface(stream).on('line', line => {
        lines.push(line)
        report(line)
      })
    while (this.cluster.exitCode === null && !signal.aborted) {
      const environment = clusterEnvironment(this.dir)
      if (environment && lines.some(line => line.startsWith('Ctrl-C'))) return environment
      await sleep(100)
    }
    throw new UserError(
      signal.aborted ? 'Interrupted.' : `The cluster did not start: ${lines.at(-1) ?? 'see above'}`,
    )
  }

  startWorker(): void {
    const log = openSync(this.workerLog, 'a')
    this.worker = spawn(process.execPath, [program, 'worker'], {
      stdio: ['ignore', log, log, 'ipc'],
      detached: true,
      env: process.env,
    })
  }

  /** Whether the worker has ended although nobody asked it to. */
  get workerEnded(): boolean {
    return this.worker !== undefined && (this.worker.exitCode !== null || this.worker.signalCode !== null)
  }

  async end(): Promise<void> {
    await endProcess(this.worker, child => child.kill('SIGTERM'))
    await endProcess(this.cluster, child => child.stdin!.end())
  }
}

async function endProcess(
  child: ChildProcess | undefined,
  ask: (child: ChildProcess) => void,
): Promise<void> {
  if (child?.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  ask(child)
  const timer = setTimeout(() => child.kill('SIGKILL'), 45_000)
  await exited
  clearTimeout(timer)
}

/** A demo has servers of its own: it never touches those that the environment names. */
function withoutAddresses(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const named = /^(KAFKA|POSTGRES|TEMPORAL)_/
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !named.test(name)))
}
