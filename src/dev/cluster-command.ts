import { existsSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import pc from 'picocolors'
import { clusterDown, clusterEnvironment, clusterStatus, type ComponentStatus } from './cluster'
import { stopCluster } from './cluster/down'
import { holdCluster } from './cluster/foreground'
import { stateFile } from './cluster/state'
import { startCluster, type ClusterOptions } from './cluster/up'
import { UserError } from '../errors'

const DEFAULT_DIR = '.cluster'

interface UpFlags extends ClusterOptions {
  detach?: boolean
  watchStdin?: boolean
  ephemeral?: boolean
}

/** `web-traffic cluster`: Temporal, Kafka and PostgreSQL for development, without Docker. */
export function clusterCommand(): Command {
  const cluster = new Command('cluster').description(
    'Temporal with its Web UI, Kafka and PostgreSQL for development, without Docker',
  )
  cluster.addCommand(upCommand())
  cluster
    .command('down')
    .description('stop what runs; the data stays')
    .option('--dir <folder>', "the cluster's folder", DEFAULT_DIR)
    .action(({ dir }: { dir: string }) => clusterDown(dir, print))
  cluster
    .command('status')
    .description('what runs, and where')
    .option('--dir <folder>', "the cluster's folder", DEFAULT_DIR)
    .option('--json', 'print as JSON')
    .action(printStatus)
  cluster
    .command('env')
    .description('print the environment that the other commands need, NAME=value a line')
    .option('--dir <folder>', "the cluster's folder", DEFAULT_DIR)
    .action(async ({ dir }: { dir: string }) => {
      const environment = clusterEnvironment(dir)
      if (environment === undefined) {
        throw new UserError(`no cluster is up in ${dir}: run \`${upCommandFor(dir)}\` first`)
      }
      for (const [name, value] of Object.entries(environment)) print(`${name}=${quote(value)}`)
      for (const [name, { state }] of Object.entries((await clusterStatus(dir)).components))
        if (state === 'dead') console.error(`${name} has died: \`${upCommandFor(dir)}\` starts it again`)
    })
  return cluster
}

function upCommandFor(dir: string): string {
  return `web-traffic cluster up --detach${dir === DEFAULT_DIR ? '' : ` --dir ${dir}`}`
}

function upCommand(): Command {
  return new Command('up')
    .description(
      'start what does not run, and stay until Ctrl-C, which takes down what this command started. ' +
        'TEMPORAL_ADDRESS, KAFKA_URL or POSTGRES_URL in the environment name a server to use instead.',
    )
    .option('--detach', 'return when all is up, and leave it running')
    .option('--dir <folder>', 'where its data, logs and state are kept', DEFAULT_DIR)
    .option('--kafka-port <port>', 'default 9092, or a free one', parsePort)
    .option('--temporal-port <port>', 'default 7233, or a free one', parsePort)
    .option('--temporal-ui-port <port>', 'default 8233, or a free one', parsePort)
    .option('--postgres-port <port>', 'default 5432, or a free one', parsePort)
    .option(
      '--watch-stdin',
      'go down, as on Ctrl-C, when standard input closes (for a parent process that may be killed)',
    )
    .option('--ephemeral', 'remove the folder after going down')
    .action(up)
    .configureHelp({ sortOptions: false })
}

async function up(flags: UpFlags): Promise<void> {
  const { detach = false, watchStdin = false, ephemeral = false, ...options } = flags
  if (detach && (watchStdin || ephemeral)) {
    throw new UserError('--detach does not stay to do what --watch-stdin or --ephemeral ask: give it alone')
  }
  const ending = endOnSignals(watchStdin)
  // With its reader gone a line cannot be printed, which must not keep the cluster from being taken down.
  process.stdout.on('error', () => undefined)
  process.stderr.on('error', () => undefined)
  const { dir } = options
  try {
    const { started } = await startCluster({ ...options, report: print, signal: ending.signal })
    await printAddresses(dir)
    if (detach || Object.keys(started).length === 0) return
    print('Ctrl-C takes it down.')
    await holdCluster(started, { dir, report: print, signal: ending.signal, ephemeral })
  } catch (error) {
    if (ephemeral && existsSync(stateFile(dir)))
      await stopCluster({ dir, report: () => undefined, only: [], remove: true })
    if (!ending.signal.aborted || error instanceof UserError) throw error
    print('ended before it was up')
    process.exitCode = 130
  } finally {
    ending.release()
  }
}

/** A signal that comes with SIGINT, SIGTERM, SIGHUP or, if asked, the end of standard input. */
function endOnSignals(watchStdin: boolean): { signal: AbortSignal; release: () => void } {
  const ending = new AbortController()
  const end = () => ending.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, end)
  if (watchStdin) {
    process.stdin.on('end', end).on('close', end).on('error', end)
    process.stdin.resume()
  }
  const release = () => {
    for (const signal of signals) process.off(signal, end)
    if (watchStdin) process.stdin.off('end', end).off('close', end).off('error', end).pause()
  }
  return { signal: ending.signal, release }
}

async function printAddresses(dir: string): Promise<void> {
  const { components } = await clusterStatus(dir)
  const { POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB } = clusterEnvironment(dir) ?? {}
  const login =
    components.postgres.state === 'running'
      ? pc.dim(` (database ${POSTGRES_DB}, user ${POSTGRES_USER}, password ${POSTGRES_PASSWORD})`)
      : ''
  const rows = [
    ['Temporal', components.temporal.address],
    ['Temporal UI', components.temporal.ui],
    ['Kafka', components.kafka.address],
    ['PostgreSQL', `${components.postgres.address}${login}`],
  ]
  for (const [title, address] of rows) {
    if (title !== undefined && address !== undefined) print(`  ${pc.bold(title.padEnd(11))}  ${address}`)
  }
}

async function printStatus({ dir, json }: { dir: string; json?: boolean }): Promise<void> {
  const status = await clusterStatus(dir)
  if (json) {
    print(JSON.stringify(status, undefined, 2))
    return
  }
  for (const [name, component] of Object.entries(status.components)) {
    const { address, ui, pid, log, program } = component
    const details = [address, ui, pid && `pid ${pid}`, program, log].filter(Boolean)
    print([name.padEnd(8), paint(component.state), ...details].join('  '))
  }
}

function paint(state: ComponentStatus['state']): string {
  const colors = { running: pc.green, external: pc.cyan, stopped: pc.dim, dead: pc.red }
  return colors[state](state.padEnd(8))
}

function parsePort(value: string): number {
  const port = Number(value)
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port
  throw new InvalidArgumentError('a port is a number from 1 to 65535')
}

/** Quoted where a shell or a dotenv file would read it otherwise. */
function quote(value: string): string {
  return /^[\w./:@,%+=-]*$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
