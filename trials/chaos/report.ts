import { seconds, KINDS, type FaultKind } from './faults'
import type { SeedResult, Struck } from './run-seed'

export interface KindSummary {
  kind: FaultKind
  title: string
  times: number
  /** How often another fault came before the pipeline was seen to count again; not in the times below. */
  overtaken: number
  /** Milliseconds; null where none was measured. */
  median: number | null
  worst: number | null
  medianSinceEnd: number | null
  worstSinceEnd: number | null
}

/** What the seeds met, by kind of fault. */
export function summarise(results: SeedResult[]): KindSummary[] {
  const struck = results.flatMap(({ faults }) => faults)
  return (Object.keys(KINDS) as FaultKind[]).flatMap(kind => {
    const those = struck.filter(fault => fault.kind === kind)
    if (those.length === 0) return []
    const counted = sorted(those, ({ counted }) => counted)
    const sinceEnd = sorted(those, ({ countedSinceEnd }) => countedSinceEnd)
    return {
      kind,
      title: KINDS[kind].title,
      times: those.length,
      overtaken: those.filter(({ overtaken }) => overtaken).length,
      median: median(counted),
      worst: counted.at(-1) ?? null,
      medianSinceEnd: median(sinceEnd),
      worstSinceEnd: sinceEnd.at(-1) ?? null,
    }
  })
}

function sorted(faults: Struck[], time: (fault: Struck) => number | null): number[] {
  return faults
    .map(time)
    .filter(value => value !== null)
    .sort((a, b) => a - b)
}

function median(values: number[]): number | null {
  const middle = values.length >> 1
  if (values.length === 0) return null
  return values.length % 2 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2
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
  'counted again: median',
  'worst',
  'since its end: median',
  'worst',
]

/** The table by kind of fault, as Markdown. */
export function markdownTable(summaries: KindSummary[]): string {
  const rows = summaries.map(({ title, times, overtaken, median, worst, medianSinceEnd, worstSinceEnd }) => [
    title,
    String(times),
    String(overtaken),
    ...[median, worst, medianSinceEnd, worstSinceEnd].map(time => (time === null ? '-' : seconds(time))),
  ])
  const widths = HEAD.map((title, column) => Math.max(title.length, ...rows.map(row => row[column]!.length)))
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join(' | ')} |`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(HEAD), line(rule), ...rows.map(line)].join('\n')
}
