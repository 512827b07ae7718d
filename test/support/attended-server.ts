import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from '../../src/dev/cluster/command'
import type { ClusterContext } from '../../src/dev/cluster/component'
import { packageRoot } from '../../src/package-root'

/** Where a server of the cluster's kind is found and installed, for a test that sets one up by itself. */
export function surroundings(dir: string): ClusterContext {
  return {
    dir,
    environment: process.env,
    cache: join(packageRoot(), 'node_modules', '.cache', 'web-traffic'),
    report: () => undefined,
    signal: new AbortController().signal,
  }
}

/** A server of one test file, in a folder of its own; both are gone when this process is, however it ends. */
export class AttendedServer {
  private readonly process: ChildProcess
  private readonly log: string

  constructor(
    private readonly name: string,
    command: Command,
    folder: string,
    signal: NodeJS.Signals,
  ) {
    this.log = join(folder, 'server.log')
    const output = openSync(this.log, 'a')
    const attend = join(__dirname, 'run-attended.js')
    this.process = spawn(process.execPath, [attend, JSON.stringify(command), folder, signal], {
      stdio: ['pipe', output, output],
    })
    closeSync(output)
  }

  /** Resolves when `probe` does. */
  async untilReady(probe: () => Promise<unknown>, within = 60_000): Promise<void> {
    for (const deadline = Date.now() + within; ; await sleep(100)) {
      const failure = await probe().then(
        () => undefined,
        (error: unknown) => String(error),
      )
      if (failure === undefined) return
      if (this.process.exitCode === null && Date.now() < deadline) continue
      throw new Error(`${this.name} does not come up: ${failure}\n${this.printed}`)
    }
  }

  get printed(): string {
    return readFileSync(this.log, 'utf8')
  }

  async end(): Promise<void> {
    if (this.process.exitCode !== null) return
    const exited = once(this.process, 'exit')
    this.process.stdin!.end()
    await exited
  }
}
