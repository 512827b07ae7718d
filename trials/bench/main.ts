import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { UserError } from '../../src/errors'
import { interruption } from '../../src/terminal/interruption'
import { OwnedCluster } from '../../src/dev/cluster/owned-cluster'
import { openWindowsTable, measureOpenWindows, type OpenWindowsResult } from './open-windows'
import { measureLive, type Live } from './live'
import { liveTable } from './live-report'
import { measureLoads, type Benchmark, type LoadsOptions } from './loads'
import { chart, table } from './loads-report'
import { measureYears, yearsTable, type Years } from './years'
import { whole } from '../../src/cli/options'

interface LoadFlags extends LoadsOptions {
  json?: true
}

interface LiveFlags {
  rates: number[]
  partitions: number
  workers: number
  windows: number
  size: string
  flush: string
  json?: true
}

const program = new Command('bench').description('measures the pipeline, on servers of its own')

program
  .command('load')
  .description('how fast a topic of history is loaded, beside what kafkajs alone can do')
  .option('--events <n>', 'how many events', whole(1), 5_000_000)
  .option('--partitions <n>', 'partitions of the topic', whole(1), 4)
  .option(
    '--windows <n>',
    'windows over which the events are spread (default: one for every 83,333)',
    whole(1),
  )
  .option('--workers <list>', 'worker processes, a load for each number', numbers, [1, 2])
  .option('--json', 'print the figures as JSON')
  .action(async ({ json, ...options }: LoadFlags) => {
    const benchmark = await onServers((folder, signal) => measureLoads(options, folder, signal))
    if (!benchmark) return
    print(benchmark, json, (found: Benchmark) => `${table(found)}\n\n${chart(found)}`)
    if (benchmark.loads.some(({ problems }) => problems.length > 0)) process.exitCode = 1
  })

program
  .command('live')
  .description(
    'how soon after its end and delay a window is visible in live traffic, and what it asks of Temporal',
  )
  .option('--rates <list>', 'events a second, a run for each', numbers, [1_000, 20_000])
  .option('--partitions <n>', 'partitions of the topic', whole(1), 4)
  .option('--workers <n>', 'worker processes, each with a poller', whole(1), 1)
  .option('--windows <n>', 'windows to be seen in each run', whole(1), 50)
  .option('--size <duration>', 'WINDOW_SIZE', '5s')
  .option('--flush <duration>', 'FLUSH_INTERVAL', '5s')
  .option('--json', 'print the figures as JSON')
  .action(async ({ json, ...options }: LiveFlags) => {
    const runs = await onServers((folder, signal) => measureLive(options, folder, signal))
    if (runs) print(runs, json, (found: Live[]) => liveTable(found))
  })

program
  .command('open-windows')
  .description('a long history whose windows are all open at once, as a silent partition holds them')
  .option('--windows <n>', 'how many windows', whole(1), 10_000)
  .option('--events <n>', 'how many events', whole(1), 500_000)
  .option('--json', 'print the figures as JSON')
  .action(async ({ json, ...options }: { windows: number; events: number; json?: true }) => {
    const measured = await onServers((folder, signal) => measureOpenWindows(options, folder, signal))
    if (!measured) return
    print(measured, json, (found: OpenWindowsResult) => openWindowsTable(found))
    if (measured.problems.length > 0) process.exitCode = 1
  })

program
  .command('years')
  .description('how soon the dashboard has its answers from a year of windows')
  .option('--rows <n>', 'rows in each table of counts', whole(1), 20_000_000)
  .option('--times <n>', 'how often each question is asked', whole(1), 40)
  .option('--json', 'print the figures as JSON')
  .action(async ({ json, ...options }: { rows: number; times: number; json?: true }) => {
    const years = await onServers((_, signal) => measureYears(options, signal))
    if (years) print(years, json, (found: Years) => yearsTable(found))
  })

program.parseAsync().catch((error: unknown) => {
  console.error(error instanceof UserError ? error.message : error)
  process.exit(1)
})

/** Undefined where it was interrupted. */
async function onServers<T>(
  measure: (folder: string, signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  const signal = interruption()
  const folder = mkdtempSync(join(tmpdir(), 'web-traffic-bench-'))
  const cluster = new OwnedCluster(join(folder, 'cluster'))
  try {
    Object.assign(process.env, await cluster.untilUp(signal))
    return await measure(folder, signal)
  } catch (error) {
    if (!signal.aborted) throw error
    process.exitCode = 130
    return undefined
  } finally {
    await cluster.end()
    rmSync(folder, { recursive: true, force: true })
  }
}

function print<T>(found: T, json: true | undefined, text: (found: T) => string): void {
  console.log(json ? JSON.stringify(found, null, 2) : text(found))
}

function numbers(text: string): number[] {
  return text.split(',').map(whole(1))
}
