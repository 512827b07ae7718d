import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../errors'
import type { Component, Program, ClusterContext } from './component'
import { COMPONENTS } from './components'
import { findExternal } from './external'
import { packageRoot } from '../../package-root'
import { lockCluster } from './lock'
import { PortReservations } from './ports'
import { isAlive, type ProcessIdentity } from './process-identity'
import { StartError, startServer, stopServer, waitUntilReady } from './server-process'
import {
  COMPONENT_NAMES,
  readState,
  stateFile,
  writeState,
  type ClusterState,
  type ComponentName,
  type ComponentRecord,
} from './state'

export interface ClusterOptions {
  /** The folder for data, logs and state. */
  dir: string
  /** A given port must be free. The default is the port of the previous run, the usual one, or a free one. */
  kafkaPort?: number
  temporalPort?: number
  temporalUiPort?: number
  postgresPort?: number
  /** Default: that of this process. */
  environment?: NodeJS.ProcessEnv
  /** Receives progress, one line at a time. */
  report?: (line: string) => void
  /** Aborts the start and stops what it started. */
  signal?: AbortSignal
  /** The folder where missing programs are installed; the default is in node_modules of this package. */
  cache?: string
}

export interface StartedCluster {
  state: ClusterState
  /** The servers that this call started; others were up already. */
  started: Partial<Record<ComponentName, ProcessIdentity>>
}

/**
 * Starts the servers of a cluster that do not run; resolves when all of them answer.
 *
 * @throws UserError if a server cannot be started; then the servers that this call started are stopped again
 */
export async function startCluster(options: ClusterOptions): Promise<StartedCluster> {
  if (process.platform === 'win32')
    throw new UserError('The cluster needs Linux or macOS. On Windows use WSL.')
  const dir = resolve(options.dir)
  const report = options.report ?? (() => undefined)
  claimFolder(dir)
  const release = await lockCluster(options.dir, report, options.signal)
  const ports = new PortReservations()
  try {
    return await new Start(options, dir, report, ports).run()
  } finally {
    ports.release()
    release()
  }
}

/** Refuses a folder with other content, because `--ephemeral` would remove that content too. */
function claimFolder(dir: string): void {
  mkdirSync(dir, { recursive: true })
  if (existsSync(stateFile(dir))) return
  if (readdirSync(dir).some(name => name !== '.gitignore' && !name.startsWith('lock'))) {
    throw new UserError(`${dir} has other content than a cluster. Choose an empty or new --dir.`)
  }
}

class Start {
  private readonly state: ClusterState
  private readonly started: StartedCluster['started'] = {}
  private readonly environment: NodeJS.ProcessEnv
  private readonly failed = new AbortController()
  private readonly context: ClusterContext

  constructor(
    private readonly options: ClusterOptions,
    private readonly dir: string,
    private readonly report: (line: string) => void,
    private readonly reservations: PortReservations,
  ) {
    this.state = readState(dir) ?? { version: 1, components: {} }
    this.environment = options.environment ?? process.env
    const cache = options.cache ?? join(packageRoot(), 'node_modules', '.cache', 'web-traffic')
    const signals = [this.failed.signal, ...(options.signal ? [options.signal] : [])]
    this.context = {
      dir,
      environment: this.environment,
      cache,
      report,
      signal: AbortSignal.any(signals),
    }
  }

  async run(): Promise<StartedCluster> {
    writeFileSync(join(this.dir, '.gitignore'), '*\n')
    this.save()
    const missing: ComponentName[] = []
    const running: ComponentName[] = []
    for (const name of COMPONENT_NAMES) {
      if (isAlive(this.state.components[name]?.process)) running.push(name)
      else if (!(await this.useExternal(name))) missing.push(name)
    }
    this.checkPortsOfRunning(running)
    const ports = new Map<ComponentName, Record<string, number>>()
    for (const name of missing) ports.set(name, await this.choosePorts(COMPONENTS[name]))
    const programs = await this.findPrograms(missing)
    const work = [
      ...running.map(name => this.awaitRunning(name)),
      ...missing.map(name => this.bringUp(COMPONENTS[name], programs.get(name)!, ports.get(name)!)),
    ]
    await this.allOrNothing(work)
    if (missing.length === 0) this.report(`already up in ${this.options.dir}`)
    return { state: this.state, started: this.started }
  }

  private save(): void {
    writeState(this.dir, this.state)
  }

  private async useExternal(name: ComponentName): Promise<boolean> {
    const component = COMPONENTS[name]
    const recorded = this.state.components[name]
    const external = await findExternal(component, recorded, this.environment)
    if (external === undefined) {
      if (recorded?.kind === 'external') delete this.state.components[name]
      return false
    }
    this.state.components[name] = external
    this.save()
    this.report(`${component.title}: using ${external.address} from ${component.addressVariable}`)
    return true
  }

  private requiredPort(component: Component, port: string): number | undefined {
    const { kafkaPort, postgresPort, temporalPort, temporalUiPort } = this.options
    if (port === 'ui') return temporalUiPort
    if (port !== 'main') return undefined
    return { kafka: kafkaPort, postgres: postgresPort, temporal: temporalPort }[component.name]
  }

  private checkPortsOfRunning(running: ComponentName[]): void {
    for (const name of running) {
      const component = COMPONENTS[name]
      for (const [port, actual] of Object.entries(this.state.components[name]?.ports ?? {})) {
        const required = this.requiredPort(component, port)
        if (required === undefined || required === actual) continue
        const purpose = component.ports[port]?.purpose ?? component.title
        throw new UserError(`${purpose} is already up on port ${actual}. To move it, stop the cluster first.`)
      }
    }
  }

  private async findPrograms(names: ComponentName[]): Promise<Map<ComponentName, Program>> {
    const searches = names.map(async name => {
      const program = await COMPONENTS[name].find(this.context)
      this.report(`${COMPONENTS[name].title}: ${program.description}`)
      return [name, program] as const
    })
    const results = await Promise.allSettled(searches)
    const failures = results
      .filter(result => result.status === 'rejected')
      .map(({ reason }) => reason as Error)
    const unexpected = failures.find(error => !(error instanceof UserError))
    if (unexpected) throw unexpected
    if (failures.length > 0) throw new UserError(failures.map(error => error.message).join(' '))
    return new Map(results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : [])))
  }

  private async choosePorts(component: Component): Promise<Record<string, number>> {
    const previous = this.state.components[component.name]?.ports ?? {}
    const chosen: Record<string, number> = {}
    for (const [port, { purpose, usual }] of Object.entries(component.ports)) {
      const required = this.requiredPort(component, port)
      const request = { purpose, required, previous: previous[port], usual }
      chosen[port] = await this.reservations.choose(request, this.report)
    }
    return chosen
  }

  private async bringUp(
    component: Component,
    program: Program,
    ports: Record<string, number>,
  ): Promise<void> {
    const began = Date.now()
    const log = join(this.dir, 'logs', `${component.name}.log`)
    const folder = join(this.dir, component.name)
    mkdirSync(folder, { recursive: true })
    for (;;) {
      const command = await program.prepare(folder, ports)
      this.context.signal.throwIfAborted()
      const server = startServer(command, log)
      // Recorded synchronously, so that `down` knows the process even if this command is killed now.
      this.record(component, { program: program.description, ports, log, process: server.process })
      this.started[component.name] = server.process
      try {
        await waitUntilReady(component, server.process, ports, server.log, this.context.signal)
        const seconds = ((Date.now() - began) / 1000).toFixed(1)
        this.report(`${component.title}: up on 127.0.0.1:${ports.main} in ${seconds} s`)
        return
      } catch (error) {
        const isTransient = error instanceof StartError && component.transientFailure?.test(error.log)
        if (!isTransient || Date.now() - began > component.readyWithinMs) throw error
        await sleep(500)
      }
    }
  }

  private record(
    component: Component,
    run: Required<Pick<ComponentRecord, 'program' | 'ports' | 'log' | 'process'>>,
  ): void {
    const variables = component.variables(run.ports)
    const address = `127.0.0.1:${run.ports.main}`
    this.state.components[component.name] = { kind: 'managed', address, variables, ...run }
    this.save()
  }

  /** The command that started the component may have been killed before the component was ready. */
  private async awaitRunning(name: ComponentName): Promise<void> {
    const { process: server, ports, log } = this.state.components[name]!
    const position = { file: log ?? '', from: 0 }
    await waitUntilReady(COMPONENTS[name], server!, ports, position, this.context.signal)
  }

  /** The first failure aborts the other starts and stops what was started. */
  private async allOrNothing(work: Promise<void>[]): Promise<void> {
    let first: unknown
    const guarded = work.map(async part => {
      try {
        await part
      } catch (error) {
        first ??= error
        this.failed.abort()
      }
    })
    await Promise.all(guarded)
    if (first === undefined) return
    for (const [name, server] of Object.entries(this.started) as [ComponentName, ProcessIdentity][]) {
      await stopServer(COMPONENTS[name], server)
      delete this.state.components[name]?.process
    }
    this.save()
    throw first as Error
  }
}
