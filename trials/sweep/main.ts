import { inspect } from 'node:util'
import { Command } from 'commander'
import { interruption } from '../../src/terminal/interruption'
import { UserError } from '../../src/errors'
import { withTemporal } from '../../src/temporal/connection'
import { derivePoint, describePoint } from './points'
import { pointLine, summary } from './report'
import { ResultsFile } from './results-file'
import { runPoint, type PointResult } from './run-point'
import { SweepServers } from './servers'
import { whole } from '../../src/cli/options'

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
