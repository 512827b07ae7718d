import { grouped } from '../../src/core/numbers'
import { markdownTable } from '../markdown-table'
import type { Live } from './live'

/** Latencies, and the actions of Temporal per window, as Markdown tables. */
export function liveTable(runs: Live[]): string {
  const latencies = runs.map(({ rate, partitions, workers, events, windows, windowSize, latency }) => [
    grouped(rate),
    partitions,
    workers,
    grouped(events),
    `${windows} of ${windowSize}`,
    latency.median,
    latency.p99,
    latency.worst,
  ])
  const kinds = [...new Set(runs.flatMap(({ actions }) => Object.keys(actions)))].sort()
  const rowOf = (title: string, count: (actions: Live['actions']) => number) => [
    title,
    ...runs.map(({ actions }) => count(actions).toFixed(1)),
  ]
  const actions = [
    ...kinds.map(kind => rowOf(kind, actions => actions[kind] ?? 0)),
    rowOf('all', actions => Object.values(actions).reduce((sum, count) => sum + count, 0)),
  ]
  return [
    markdownTable(
      [
        'events/s',
        'partitions',
        'workers',
        'events',
        'windows',
        'median, ms',
        '99th percentile, ms',
        'worst, ms',
      ],
      latencies,
    ),
    '',
    markdownTable(['actions per window', ...runs.map(({ rate }) => `${grouped(rate)} events/s`)], actions),
  ].join('\n')
}
