import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { UserError } from '../../errors'
import { program } from '../program'
import { endProcess } from './end-process'
import { clusterEnvironment } from './environment'

/**
 * A cluster that lives as long as this process: `web-traffic cluster up` as a child that reads a pipe of this process.
 * When the pipe closes, even because this process was killed, the child stops the servers and removes the folder.
 */
export class OwnedCluster {
  private readonly command: ChildProcess
  private readonly lines: string[] = []
  private readonly up: Promise<void>

  /** Starts the servers that do not run yet in the folder `dir`. `options` are further options of the command. */
  constructor(
    readonly dir: string,
    options: string[] = [],
    report: (line: string) => void = () => undefined,
  ) {
    const args = ['cluster', 'up', '--dir', dir, '--ephemeral', '--watch-stdin', ...options]
    this.command = spawn(process.execPath, [program, ...args], {
      stdio: 'pipe',
      // Ctrl-C must reach only this process, which stops the servers last.
      detached: true,
      env: withoutAddresses(process.env),
    })
    this.up = new Promise((resolve, reject) => {
      for (const stream of [this.command.stdout!, this.command.stderr!])
        createInterface(stream).on('line', line => {
          this.lines.push(line)
          report(line)
          if (line.startsWith('Ctrl-C')) resolve()
        })
      this.command.once('exit', () =>
        reject(new UserError(`The cluster did not start:\n${this.lines.join('\n')}`)),
      )
    })
    // A rejection that nobody awaits must not end this process.
    this.up.catch(() => undefined)
  }

  /**
   * Returns the environment variables that its clients need.
   *
   * @throws UserError if it did not start, or the signal was aborted first
   */
  async untilUp(signal?: AbortSignal): Promise<Record<string, string>> {
    await Promise.race([this.up, ...(signal ? [interrupted(signal)] : [])])
    return this.environment
  }

  get environment(): Record<string, string> {
    const environment = clusterEnvironment(this.dir)
    if (!environment) throw new Error(`the cluster in ${this.dir} is not up`)
    return environment
  }

  /** Resolves when its servers are stopped. */
  async end(): Promise<void> {
    await endProcess(this.command, command => command.stdin!.end())
  }
}

async function interrupted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort')
  throw new UserError('Interrupted.')
}

const ADDRESS = /^((KAFKA|POSTGRES|TEMPORAL)_|PGSSL)/

/** The environment without the variables that name servers, so that a new cluster does not use those. */
export function withoutAddresses(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !ADDRESS.test(name)))
}
