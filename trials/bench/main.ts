import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { whole } from '../../src/cli/options'
import { OwnedCluster } from '../../src/dev/cluster/owned-cluster'
import { interruption } from '../../src/terminal/interruption'
import { runCommand } from '../run-command'
import { measureLive, type LiveOptions } from './live'
import { liveTable } from './live-report'
import { measureLoads, type LoadsOptions } from './loads'
import { chart, table } from './loads-report'
import { measureOpenWindows, openWindowsTable } from './open-windows'
import { measureYears, yearsTable } from './years'

const program = new Command('bench').description('measure the pipeline on its own servers')

measurement('load', 'how fast a topic of history is loaded, compared with kafkajs alone')
  .option('--events <n>', 'number of events', whole(1), 5_000_000)
  .option('--partitions <n>', 'partitions of the topic', whole(1), 4)
  .option('--windows <n>', 'windows that the events are spread over (default: one per 83,333)', whole(1))
  .option('--workers <list>', 'numbers of worker processes, with one load for each', numbers, [1, 2])
  .action((options: LoadsOptions & Output) =>
    measure(
      options,
      (folder, signal) => measureLoads(options, folder, signal),
      found => `${table(found)}\n\n${chart(found)}`,
      ({ loads }) => loads.every(({ problems }) => problems.length === 0),
    ),
  )

measurement('live', 'how soon windows of live traffic are visible, and what they need of Temporal')
  .option('--rates <list>', 'events per second, with one run for each', numbers, [1_000, 20_000])
  .option('--partitions <n>', 'partitions of the topic', whole(1), 4)
  .option('--workers <n>', 'worker processes, each with one poller', whole(1), 1)
  .option('--windows <n>', 'windows to measure in each run', whole(1), 50)
  .option('--size <duration>', 'WINDOW_SIZE', '5s')
  .option('--flush <duration>', 'FLUSH_INTERVAL', '5s')
  .action((options: LiveOptions & Output) =>
    measure(options, (folder, signal) => measureLive(options, folder, signal), liveTable),
  )

measurement('open-windows', 'a long history whose windows a silent partition keeps open, all at once')
  .option('--windows <n>', 'number of windows', whole(1), 10_000)
  .option('--events <n>', 'number of events', whole(1), 500_000)
  .action((options: { windows: number; events: number } & Output) =>
    measure(
      options,
      (folder, signal) => measureOpenWindows(options, folder, signal),
      openWindowsTable,
      ({ problems }) => problems.length === 0,
    ),
  )

measurement('years', "how fast the dashboard's queries are on a year of windows")
  .option('--rows <n>', 'rows in each table of counts', whole(1), 20_000_000)
  .option('--times <n>', 'how often to run each query', whole(1), 40)
  .action((options: { rows: number; times: number } & Output) =>
    measure(options, (_, signal) => measureYears(options, signal), yearsTable),
  )

runCommand(program)

interface Output {
  json?: true
}

function measurement(name: string, description: string): Command {
  return program.command(name).description(description).option('--json', 'print the figures as JSON')
}

/** Measures on new servers and prints the result. The process exits with 1 if the result is not right. */
async function measure<T>(
  { json }: Output,
  run: (folder: string, signal: AbortSignal) => Promise<T>,
  print: (found: T) => string,
  isRight: (found: T) => boolean = () => true,
): Promise<void> {
  const signal = interruption()
  const folder = mkdtempSync(join(tmpdir(), 'web-traffic-bench-'))
  const cluster = new OwnedCluster(join(folder, 'cluster'))
  try {
    Object.assign(process.env, await cluster.untilUp(signal))
    const found = await run(folder, signal)
    console.log(json ? JSON.stringify(found, null, 2) : print(found))
    if (!isRight(found)) process.exitCode = 1
  } catch (error) {
    if (!signal.aborted) throw error
    process.exitCode = 130
  } finally {
    await cluster.end()
    rmSync(folder, { recursive: true, force: true })
  }
}

function numbers(text: string): number[] {
  return text.split(',').map(whole(1))
}
