import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Command } from 'commander'
import { interruption } from '../cli/interruption'
import { whole } from '../cli/produce'
import { AttendedCluster } from '../cluster/attended'
import { UserError } from '../errors'
import { withTemporal } from '../temporal'
import { derivePoint, describePoint } from './points'
import { pointLine, summary } from './report'
import { ResultsFile } from './results-file'
import { runPoint, type PointResult } from './run-point'

interface Flags {
  points: number
  first: number
  out: string
  stalled: number
  retry?: true
}

new Command('sweep')
  .description(
    'runs seeded pipelines of many shapes on real servers, each with a worker killed or restarted, and compares every count with an independent one',
  )
  .option('--points <n>', 'how many points', whole(1), 200)
  .option('--first <n>', 'number of the first point', whole(1), 1)
  .option(
    '--out <file>',
    'results, one JSON line per point; points that are in it are skipped',
    'sweep.jsonl',
  )
  .option('--stalled <seconds>', 'a point has failed after so long without progress', whole(1), 60)
  .option('--retry', 'run the points again that failed')
  .action(run)
  .parseAsync()
  .catch((error: unknown) => {
    console.error(error instanceof UserError ? error.message : error)
    process.exit(1)
  })

async function run({ points, first, out, stalled, retry }: Flags): Promise<void> {
  const signal = interruption()
  const file = new ResultsFile(out)
  const all = Array.from({ length: points }, (_, i) => derivePoint(first + i))
  const isDone = (known: PointResult | undefined) => known && !(retry && known.problems.length > 0)
  const due = all.filter(point => !isDone(file.of(point)))
  if (due.length < points) console.log(`${points - due.length} of ${points} points are in ${out} already`)
  const servers = new SweepServers(signal)
  let unfinished = false
  try {
    for (const point of due) {
      if (signal.aborted) break
      try {
        const folder = await servers.start()
        const result = await withTemporal(client =>
          runPoint(point, { client, folder, stalled: stalled * 1_000, signal }),
        )
        file.add(result)
        console.log(pointLine(result))
        if (result.problems.length > 0) servers.keepLogs(point.number)
        else servers.removeLogs(point.number)
      } catch (error) {
        if (signal.aborted) break
        unfinished = true
        console.log(
          `point ${point.number}: NOT FINISHED  ${describePoint(point)}\n  ${inspect(error).replaceAll('\n', '\n  ')}`,
        )
        servers.keepLogs(point.number)
        // Whatever state the servers are in, the next point does not inherit it.
        await servers.end()
      }
    }
  } finally {
    await servers.end()
    servers.removeFolder()
  }
  const results = all.map(point => file.of(point)).filter(result => result !== undefined)
  console.log(summary(results))
  if (signal.aborted) process.exitCode = 130
  else if (unfinished || results.some(({ problems }) => problems.length > 0)) process.exitCode = 1
}

/** The servers that all points share, and a folder for logs. */
class SweepServers {
  private readonly folder = mkdtempSync(join(tmpdir(), 'web-traffic-sweep-'))
  private cluster: AttendedCluster | undefined
  private clusters = 0
  private hasLogs = false

  constructor(private readonly signal: AbortSignal) {}

  /** Starts them where they do not run; resolves with the folder for workers' logs. */
  async start(): Promise<string> {
    if (!this.cluster) {
      this.cluster = new AttendedCluster(join(this.folder, `cluster-${++this.clusters}`))
      Object.assign(process.env, await this.cluster.untilUp(this.signal))
    }
    return join(this.folder, 'logs')
  }

  /** Keeps the logs of a point's workers, and of the servers so far. */
  keepLogs(point: number): void {
    this.hasLogs = true
    const logs = join(this.folder, 'logs', `point-${point}`)
    const serverLogs = this.cluster && join(this.cluster.dir, 'logs')
    if (serverLogs && existsSync(serverLogs)) cpSync(serverLogs, logs, { recursive: true })
    console.log(`  logs: ${logs}`)
  }

  removeLogs(point: number): void {
    rmSync(join(this.folder, 'logs', `point-${point}`), { recursive: true, force: true })
  }

  async end(): Promise<void> {
    const { cluster } = this
    this.cluster = undefined
    await cluster?.end()
  }

  removeFolder(): void {
    if (!this.hasLogs) rmSync(this.folder, { recursive: true, force: true })
  }
}
