import { inspect } from 'node:util'
import { Command, InvalidArgumentError } from 'commander'
import { UserError } from '../../src/errors'
import { interruption } from '../../src/terminal/interruption'
import { describeFault, schedule } from './faults'
import { markdownTable, summarise, verdictLine } from './report'
import { runSeed, type SeedResult } from './run-seed'

interface Flags {
  seeds: number
  first: number
  short?: boolean
  json?: true
}

new Command('chaos')
  .description(
    'attacks the pipeline on real servers with a seeded schedule of faults, and holds its counts against an independent count',
  )
  .option('--seeds <n>', 'how many seeds', wholeNumber, 3)
  .option('--first <n>', 'the first seed; the others follow on it', wholeNumber, 1)
  .option(
    '--short',
    'a few faults a seed, under a minute of traffic; two seeds meet every brief kind but the plainest',
  )
  .option('--json', 'print the outcome as JSON, and what happens to standard error')
  .action(run)
  .parseAsync()
  .catch((error: unknown) => {
    console.error(error instanceof UserError ? error.message : error)
    process.exit(1)
  })

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
      report(`seed ${seed}: could not be run to its end: ${inspect(error)}`)
    }
    wrong = true
    report(`  ${repeat(seed, short)}`)
  }
  const summary = summarise(results)
  console.log(json ? JSON.stringify({ seeds: results, faults: summary }, null, 2) : markdownTable(summary))
  if (signal.aborted) process.exitCode = 130
  else if (wrong) process.exitCode = 1
}

const repeat = (seed: number, short: boolean) =>
  `repeat it with: make chaos SEEDS=1 FIRST=${seed}${short ? ' SHORT=1' : ''}`

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number above 0.')
  return Number(text)
}
