import { grouped } from '../../src/core/numbers'
import { markdownTable } from '../markdown-table'
import { describePoint } from './points'
import type { PointResult } from './result'
import { larger, type Largest } from './sizes'

/** One line for the point, and one more for each problem. */
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
  const verdict = problems.length === 0 ? 'RIGHT' : 'WRONG'
  const megabytes = `${(topicBytes / 1e6).toFixed(1)} MB`
  return [
    `point ${point.number}: ${verdict} in ${seconds.toFixed(1)} s  ` +
      `${describePoint(point)}; ${megabytes}: ${[sums, ...extras].join('; ')}`,
    ...problems.map(problem => `  ${shortened(problem)}`),
    ...(problems.length > 0 && result.struck !== null ? [`  struck: ${result.struck}`] : []),
    ...(result.status === undefined ? [] : [`  status --json: ${briefStatus(result.status)}`]),
  ].join('\n')
}

/** Shortens long referrers; the results file has them in full. */
const shortened = (problem: string) =>
  problem.length > 300 ? `${problem.slice(0, 200)} … ${problem.slice(-80)}` : problem

/** The status with the number of partitions in place of the partitions. */
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
      `${seconds.toFixed(1)} s per point; ${repeats} points dropped repeats`,
    ...(wrong.length > 0 ? [`wrong: ${wrong.map(({ point }) => point.number).join(', ')}`] : []),
    '',
    sizesTable(results),
  ].join('\n')
}

/** The largest message of each kind over all points, as a Markdown table. */
export function sizesTable(results: PointResult[]): string {
  const over = (pick: (result: PointResult) => Largest | undefined) =>
    results.reduce(
      (known, result) => {
        const found = pick(result)
        const largest = found ? larger(known, found.value, found.workflow) : known
        return largest === known ? known : { ...largest, point: result.point.number }
      },
      { value: 0, workflow: '', point: 0 },
    )
  const row = (what: string, pick: (result: PointResult) => Largest | undefined, show = kilobytes) => {
    const { value, point, workflow } = over(pick)
    return { value, cells: [what, show(value), point, workflow] }
  }
  const kinds = [...new Set(results.flatMap(({ sizes }) => Object.keys(sizes.events)))]
  const rows = [
    ...kinds.map(kind => row(kind, ({ sizes }) => sizes.events[kind])).sort((a, b) => b.value - a.value),
    row('all commands of a workflow task', ({ sizes }) => sizes.task),
    row('history of a run', ({ sizes }) => sizes.historyBytes),
    row('history of a run, events', ({ sizes }) => sizes.historyEvents, grouped),
  ]
  return markdownTable(
    ['largest', 'size', 'point', 'workflow'],
    rows.map(({ cells }) => cells),
  )
}

const kilobytes = (bytes: number) => `${(bytes / 1_000).toFixed(1)} kB`
