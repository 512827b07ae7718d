import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { UserError } from '../../errors'
import { program } from '../program'
import { endProcess } from './end-process'
import { clusterEnvironment } from './environment'

/**
 * A cluster that belongs to this process: `web-traffic cluster up` as a child whose input is a pipe of it. However
 * this process ends, what that command started is taken down, and a folder that it made is removed.
 */
export class OwnedCluster {
  private readonly command: ChildProcess
  private readonly lines: string[] = []
  private readonly up: Promise<void>

  /** Starts what does not run yet in the folder `dir`; `options` are further ones of the command. */
  constructor(
    readonly dir: string,
    options: string[] = [],
    report: (line: string) => void = () => undefined,
  ) {
    const args = ['cluster', 'up', '--dir', dir, '--ephemeral', '--watch-stdin', ...options]
    this.command = spawn(process.execPath, [program, ...args], {
      stdio: 'pipe',
      // Ctrl-C reaches this process first, and the servers by the end of the command's input.
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
    // Whoever does not wait for it must not be ended by it.
    this.up.catch(() => undefined)
  }

  /**
   * The variables by which its servers are reached.
   *
   * @throws UserError where it did not start, or the signal came first
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

  /** Resolves when everything it started has been taken down. */
  async end(): Promise<void> {
    await endProcess(this.command, command => command.stdin!.end())
  }
}

async function interrupted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort')
  throw new UserError('Interrupted.')
}

const ADDRESS = /^((KAFKA|POSTGRES|TEMPORAL)_|PGSSL)/

/** The environment without the servers that it names: a cluster of one's own does not touch those. */
export function withoutAddresses(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !ADDRESS.test(name)))
}
