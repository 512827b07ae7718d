import { markdownTable } from '../markdown-table'
import { quantilesOf } from '../quantiles'
import { seconds, KINDS, type FaultKind } from './faults'
import type { SeedResult } from './run-seed'

export interface KindSummary {
  title: string
  times: number
  /** How many were followed by another fault before the pipeline had recovered; not in the times below. */
  overtaken: number
  /** Milliseconds from the strike, and from the end of the fault; null if none was measured. */
  recoveredAfter: Spread | null
  recoveredAfterEnd: Spread | null
}

interface Spread {
  median: number
  worst: number
}

/** One entry for each kind of fault that struck. */
export function summarise(results: SeedResult[]): KindSummary[] {
  const struck = results.flatMap(({ faults }) => faults)
  return (Object.keys(KINDS) as FaultKind[]).flatMap(kind => {
    const faults = struck.filter(fault => fault.kind === kind)
    if (faults.length === 0) return []
    return {
      title: KINDS[kind].title,
      times: faults.length,
      overtaken: faults.filter(({ overtaken }) => overtaken).length,
      recoveredAfter: spread(faults.map(({ recoveredAfter }) => recoveredAfter)),
      recoveredAfterEnd: spread(faults.map(({ recoveredAfterEnd }) => recoveredAfterEnd)),
    }
  })
}

function spread(times: (number | null)[]): Spread | null {
  const measured = times.filter(time => time !== null)
  const at = quantilesOf(measured)
  return measured.length === 0 ? null : { median: at(0.5), worst: at(1) }
}

/** `seed 3: RIGHT  records 5012 = hits 4810 + late 150 (0 closed) + rejected 52, in 8 windows; 14 repeats dropped`. */
export function verdictLine(result: SeedResult): string {
  const { seed, problems, records, hits, late, closed, rejected, windows, repeats } = result
  const sums = `records ${records} = hits ${hits} + late ${late} (${closed} closed) + rejected ${rejected}`
  const verdict = problems.length === 0 ? 'RIGHT' : 'WRONG'
  const line = `seed ${seed}: ${verdict}  ${sums}, in ${windows} windows; ${repeats} repeats dropped`
  return [line, ...problems.map(problem => `  ${problem}`)].join('\n')
}

const HEAD = [
  'fault',
  'times',
  'overtaken',
  'recovered after: median',
  'worst',
  'after the fault ended: median',
  'worst',
]

/** Recovery times by kind of fault, as Markdown. */
export function recoveryTable(summaries: KindSummary[]): string {
  const show = (spread: Spread | null) =>
    spread ? [seconds(spread.median), seconds(spread.worst)] : ['-', '-']
  const rows = summaries.map(({ title, times, overtaken, recoveredAfter, recoveredAfterEnd }) => [
    title,
    times,
    overtaken,
    ...show(recoveredAfter),
    ...show(recoveredAfterEnd),
  ])
  return markdownTable(HEAD, rows)
}
