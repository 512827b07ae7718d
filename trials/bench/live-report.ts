import type { Live } from './live'
import { grouped } from '../../src/core/numbers'

/** The figures as Markdown tables. */
export function liveTable(runs: Live[]): string {
  const latencies = runs.map(({ rate, partitions, workers, events, windows, windowSize, latency }) =>
    [
      grouped(rate),
      partitions,
      workers,
      grouped(events),
      `${windows} of ${windowSize}`,
      latency.median,
      latency.p99,
      latency.worst,
    ].join(' | '),
  )
  const kinds = [...new Set(runs.flatMap(({ actions }) => Object.keys(actions)))].sort()
  const actions = kinds.map(kind =>
    [kind, ...runs.map(({ actions }) => (actions[kind] ?? 0).toFixed(1))].join(' | '),
  )
  const total = runs.map(({ actions }) =>
    Object.values(actions)
      .reduce((sum, count) => sum + count, 0)
      .toFixed(1),
  )
  return [
    '| events/s | partitions | workers | events | windows | median, ms | 99th percentile, ms | worst, ms |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...latencies.map(line => `| ${line} |`),
    '',
    `| actions a window | ${runs.map(({ rate }) => `${grouped(rate)} events/s`).join(' | ')} |`,
    `| --- |${' --- |'.repeat(runs.length)}`,
    ...actions.map(line => `| ${line} |`),
    `| all | ${total.join(' | ')} |`,
  ].join('\n')
}
