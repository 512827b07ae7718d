import { inspect } from 'node:util'
import { Command } from 'commander'
import { whole } from '../../src/cli/options'
import { withTemporal } from '../../src/temporal/connection'
import { interruption } from '../../src/terminal/interruption'
import { runCommand } from '../run-command'
import { derivePoint, describePoint, type Point } from './points'
import { pointLine, summary } from './report'
import type { PointResult } from './result'
import { ResultsFile } from './results-file'
import { runPoint } from './run-point'
import { SweepServers } from './servers'

interface Flags {
  points: number
  first: number
  out: string
  stalled: number
  retry?: true
}

runCommand(
  new Command('sweep')
    .description(
      'run seeded pipelines of many shapes on real servers, each with a worker killed or restarted, and compare every count with an independent one',
    )
    .option('--points <n>', 'number of points', whole(1), 200)
    .option('--first <n>', 'number of the first point', whole(1), 1)
    .option('--out <file>', 'results, one JSON line per point; skips the points in it', 'sweep.jsonl')
    .option('--stalled <seconds>', 'fail a point after this long without progress', whole(1), 60)
    .option('--retry', 'run failed points again')
    .action(run),
)

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
      const result = await runOnServers(point, servers, stalled * 1_000, signal)
      if (result) file.add(result)
      else unfinished = true
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

/** Undefined if the point did not finish. */
async function runOnServers(
  point: Point,
  servers: SweepServers,
  stalled: number,
  signal: AbortSignal,
): Promise<PointResult | undefined> {
  try {
    const folder = await servers.start()
    const result = await withTemporal(client => runPoint(point, { client, folder, stalled, signal }))
    console.log(pointLine(result))
    if (result.problems.length > 0) servers.keepLogs(point.number)
    else servers.removeLogs(point.number)
    return result
  } catch (error) {
    if (signal.aborted) return undefined
    const reason = inspect(error).replaceAll('\n', '\n  ')
    console.log(`point ${point.number}: NOT FINISHED  ${describePoint(point)}\n  ${reason}`)
    servers.keepLogs(point.number)
    // The servers may be in any state, so the next point gets new ones.
    await servers.end()
    return undefined
  }
}
