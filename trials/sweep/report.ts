import { describePoint } from './points'
import type { PointResult } from './run-point'
import { larger, type Largest } from './sizes'
import { grouped } from '../../src/core/numbers'

/** One line for a point that is right; one more for each problem of one that is not. */
export function pointLine(result: PointResult): string {
  const { point, problems, seconds, topicBytes, hits, late, rejected, windows, groups, folded, repeats } =
    result
  const [kind, largest] =
    Object.entries(result.sizes.events).sort(([, a], [, b]) => b.value - a.value)[0] ?? []
  const sums = `hits ${hits} + late ${late} + rejected ${rejected}, ${grouped(groups)} groups in ${windows} windows`
  const extras = [
    folded > 0 ? `${folded} folded` : '',
    repeats > 0 ? `${repeats} repeats dropped` : '',
    largest ? `largest message ${kilobytes(largest.value)} (${kind})` : '',
  ].filter(Boolean)
  return [
    `point ${point.number}: ${problems.length === 0 ? 'RIGHT' : 'WRONG'} in ${seconds.toFixed(1)} s  ` +
      `${describePoint(point)}; ${megabytes(topicBytes)}: ${[sums, ...extras].join('; ')}`,
    ...problems.map(problem => `  ${shortened(problem)}`),
    ...(problems.length > 0 && result.struck !== null ? [`  struck: ${result.struck}`] : []),
    ...(result.status === undefined ? [] : [`  status --json: ${briefStatus(result.status)}`]),
  ].join('\n')
}

/** Referrers are long; the results file has them whole. */
const shortened = (problem: string) =>
  problem.length > 300 ? `${problem.slice(0, 200)} … ${problem.slice(-80)}` : problem

/** The status without its partitions; the results file has them. */
function briefStatus(status: unknown): string {
  if (typeof status !== 'object' || status === null) return String(status)
  const { partitions, ...rest } = status as Record<string, unknown>
  return JSON.stringify({ ...rest, partitions: Array.isArray(partitions) ? partitions.length : partitions })
}

export function summary(results: PointResult[]): string {
  const wrong = results.filter(({ problems }) => problems.length > 0)
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0) / Math.max(1, results.length)
  const repeats = results.filter(result => result.repeats > 0).length
  return [
    `${results.length} points: ${results.length - wrong.length} right, ${wrong.length} wrong; ` +
      `${seconds.toFixed(1)} s a point; repeats were dropped in ${repeats}`,
    ...(wrong.length > 0 ? [`wrong: ${wrong.map(({ point }) => point.number).join(', ')}`] : []),
    '',
    sizesTable(results),
  ].join('\n')
}

interface Measured extends Largest {
  point: number
}

/** The largest message of every kind over all points, as Markdown. */
export function sizesTable(results: PointResult[]): string {
  const kinds = [...new Set(results.flatMap(({ sizes }) => Object.keys(sizes.events)))]
  const over = (pick: (result: PointResult) => Largest | undefined): Measured =>
    results.reduce<Measured>(
      (known, result) => {
        const found = pick(result)
        const largest = found ? larger(known, found.value, found.workflow) : known
        return largest === known ? known : { ...largest, point: result.point.number }
      },
      { value: 0, workflow: '', point: 0 },
    )
  const rows = kinds
    .map(kind => ({ what: kind, ...over(({ sizes }) => sizes.events[kind]) }))
    .sort((a, b) => b.value - a.value)
    .map(({ value, ...row }) => ({ ...row, size: kilobytes(value) }))
  const whole = [
    { what: 'all commands of a workflow task', ...over(({ sizes }) => sizes.task) },
    { what: 'history of a run', ...over(({ sizes }) => sizes.historyBytes) },
  ].map(({ value, ...row }) => ({ ...row, size: kilobytes(value) }))
  const { value: events, ...where } = over(({ sizes }) => sizes.historyEvents)
  const longest = { what: 'history of a run, events', ...where, size: grouped(events) }
  const cells = [...rows, ...whole, longest].map(({ what, size, point, workflow }) => [
    what,
    size,
    String(point),
    workflow,
  ])
  return table(['largest', 'size', 'point', 'workflow'], cells)
}

function table(head: string[], rows: string[][]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]!.length)))
  const isNumber = (column: number) => column === 1 || column === 2
  const line = (cells: string[]) =>
    `| ${cells.map((cell, i) => (isNumber(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join(' | ')} |`
  const rule = widths.map((width, i) => (isNumber(i) ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)))
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}

const kilobytes = (bytes: number) => `${(bytes / 1_000).toFixed(1)} kB`
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
