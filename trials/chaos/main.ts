import { inspect } from 'node:util'
import { Command } from 'commander'
import { whole } from '../../src/cli/options'
import { interruption } from '../../src/terminal/interruption'
import { runCommand } from '../run-command'
import { describeFault, schedule } from './faults'
import { recoveryTable, summarise, verdictLine } from './report'
import { runSeed, type SeedResult } from './run-seed'

interface Flags {
  seeds: number
  first: number
  short?: boolean
  json?: true
}

runCommand(
  new Command('chaos')
    .description(
      'attack the pipeline on real servers with a seeded schedule of faults, then compare every count with an independent one',
    )
    .option('--seeds <n>', 'number of seeds', whole(1), 3)
    .option('--first <n>', 'first seed', whole(1), 1)
    .option(
      '--short',
      'a few faults per seed, in under a minute of traffic; two seeds in a row cover the important brief faults',
    )
    .option('--json', 'print the results as JSON, and progress to standard error')
    .action(run),
)

async function run({ seeds, first, short = false, json }: Flags): Promise<void> {
  const signal = interruption()
  const report = json ? console.error : console.log
  const results: SeedResult[] = []
  let wrong = false
  for (let seed = first; seed < first + seeds && !signal.aborted; seed++) {
    report(`seed ${seed}: ${schedule(seed, short).map(describeFault).join('; ')}`)
    try {
      const result = await runSeed({ seed, short, report, signal })
      results.push(result)
      report(verdictLine(result))
      if (result.problems.length === 0) continue
    } catch (error) {
      if (signal.aborted) break
      report(`seed ${seed}: failed before its end: ${inspect(error)}`)
    }
    wrong = true
    report(`  repeat it with: make chaos SEEDS=1 FIRST=${seed}${short ? ' SHORT=1' : ''}`)
  }
  const summary = summarise(results)
  console.log(json ? JSON.stringify({ seeds: results, faults: summary }, null, 2) : recoveryTable(summary))
  if (signal.aborted) process.exitCode = 130
  else if (wrong) process.exitCode = 1
}
