import { existsSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import pc from 'picocolors'
import { stopCluster } from './cluster/down'
import { clusterEnvironment } from './cluster/environment'
import { watchCluster } from './cluster/foreground'
import { stateFile } from './cluster/state'
import { clusterStatus, type ComponentStatus } from './cluster/status'
import { startCluster, type ClusterOptions } from './cluster/up'
import { UserError } from '../errors'

const DEFAULT_DIR = '.cluster'

interface UpFlags extends ClusterOptions {
  detach?: boolean
  watchStdin?: boolean
  ephemeral?: boolean
}

export function clusterCommand(): Command {
  const cluster = new Command('cluster').description(
    'run Temporal with its Web UI, Kafka and PostgreSQL for development, without Docker',
  )
  cluster.addCommand(upCommand())
  cluster
    .command('down')
    .description('stop the servers; their data stays')
    .option('--dir <folder>', 'folder of the cluster', DEFAULT_DIR)
    .action(({ dir }: { dir: string }) => stopCluster(dir, { report: print }))
  cluster
    .command('status')
    .description('show what runs, and where')
    .option('--dir <folder>', 'folder of the cluster', DEFAULT_DIR)
    .option('--json', 'print as JSON')
    .action(printStatus)
  cluster
    .command('env')
    .description('print the environment that the other commands need, one NAME=value per line')
    .option('--dir <folder>', 'folder of the cluster', DEFAULT_DIR)
    .action(({ dir }: { dir: string }) => {
      const environment = clusterEnvironment(dir)
      if (environment === undefined) {
        throw new UserError(`No cluster is up in ${dir}. Run \`${upCommandFor(dir)}\` first.`)
      }
      for (const [name, value] of Object.entries(environment)) print(`${name}=${quote(value)}`)
      for (const [name, { state }] of Object.entries(clusterStatus(dir).components))
        if (state === 'dead') console.error(`${name} has died; \`${upCommandFor(dir)}\` restarts it`)
    })
  return cluster
}

function upCommandFor(dir: string): string {
  return `web-traffic cluster up --detach${dir === DEFAULT_DIR ? '' : ` --dir ${dir}`}`
}

function upCommand(): Command {
  return new Command('up')
    .description(
      'start the servers that do not run yet, and stop them on Ctrl-C. ' +
        'TEMPORAL_ADDRESS, KAFKA_URL or POSTGRES_URL in the environment name a server to use instead.',
    )
    .option('--detach', 'return when all servers are up, and leave them running')
    .option('--dir <folder>', 'folder for data, logs and state', DEFAULT_DIR)
    .option('--kafka-port <port>', 'default 9092 or a free port', parsePort)
    .option('--temporal-port <port>', 'default 7233 or a free port', parsePort)
    .option('--temporal-ui-port <port>', 'default 8233 or a free port', parsePort)
    .option('--postgres-port <port>', 'default 5432 or a free port', parsePort)
    .option(
      '--watch-stdin',
      'stop, as on Ctrl-C, when standard input closes (for a parent process that may be killed)',
    )
    .option('--ephemeral', 'remove the folder after stopping')
    .action(up)
    .configureHelp({ sortOptions: false })
}

async function up(flags: UpFlags): Promise<void> {
  const { detach = false, watchStdin = false, ephemeral = false, ...options } = flags
  if (detach && (watchStdin || ephemeral)) {
    throw new UserError('--detach cannot be combined with --watch-stdin or --ephemeral. Remove one of them.')
  }
  const interruption = watchInterruption(watchStdin)
  // If the reader of the output is gone, the cluster must still be stopped.
  process.stdout.on('error', () => undefined)
  process.stderr.on('error', () => undefined)
  const { dir } = options
  try {
    const { started } = await startCluster({ ...options, report: print, signal: interruption.signal })
    printAddresses(dir)
    if (detach || Object.keys(started).length === 0) return
    print('Ctrl-C stops the servers.')
    await watchCluster(started, { dir, report: print, signal: interruption.signal, ephemeral })
  } catch (error) {
    if (ephemeral && existsSync(stateFile(dir))) await stopCluster(dir, { only: [], remove: true })
    if (!interruption.signal.aborted || error instanceof UserError) throw error
    print('interrupted before the servers were up')
    process.exitCode = 130
  } finally {
    interruption.release()
  }
}

/** Aborts on SIGINT, SIGTERM, SIGHUP and optionally on the end of standard input. */
function watchInterruption(watchStdin: boolean): { signal: AbortSignal; release: () => void } {
  const interruption = new AbortController()
  const end = () => interruption.abort()
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
  return { signal: interruption.signal, release }
}

function printAddresses(dir: string): void {
  const { components } = clusterStatus(dir)
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

function printStatus({ dir, json }: { dir: string; json?: boolean }): void {
  const status = clusterStatus(dir)
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
  throw new InvalidArgumentError('It must be a port from 1 to 65535.')
}

/** Quotes a value if a shell or a dotenv file needs that. */
function quote(value: string): string {
  return /^[\w./:@,%+=-]*$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
