import { counted, grouped } from '../../src/core/numbers'
import { markdownTable } from '../markdown-table'
import type { Load } from './load'
import type { Benchmark } from './loads'

const HEAD = [
  '',
  'events/s',
  'vs. kafkajs alone',
  'CPU s/million: workers',
  'Temporal',
  'Postgres',
  'Kafka',
  'peak MB per worker',
  'average MB: 2nd, last quarter',
  'messages per window',
  'history per window',
  'result',
]

/** A description of the run, a Markdown table, and a line for each load. */
export function table(benchmark: Benchmark): string {
  const { baselines, loads, events } = benchmark
  const raw = baselines.raw.events / baselines.raw.seconds
  const rate = (perSecond: number) => [grouped(perSecond), (perSecond / raw).toFixed(2)]
  const perMillion = (seconds: number) => ((seconds / events) * 1e6).toFixed(1)
  const baselineRows = (['raw', 'parse'] as const).map(mode => {
    const { seconds, cpuSeconds, peakMB } = baselines[mode]
    const what = mode === 'raw' ? 'kafkajs alone' : 'kafkajs and `JSON.parse`'
    return [
      what,
      ...rate(baselines[mode].events / seconds),
      perMillion(cpuSeconds),
      '',
      '',
      '',
      peakMB,
      '',
      '',
      '',
      '',
    ]
  })
  const loadRows = loads.map(
    ({ workers, secondsToAccepted, cpu, peakMB, residentMB, perWindow, problems }) => [
      `pipeline, ${counted(workers, 'worker')}`,
      ...rate(events / secondsToAccepted),
      ...[cpu.workers, cpu.temporal, cpu.postgres, cpu.kafka].map(perMillion),
      peakMB,
      `${residentMB.early}, ${residentMB.late}`,
      perWindow.messages.toFixed(1),
      `${Math.round(perWindow.historyBytes / 1_000)} kB`,
      problems.length === 0 ? 'exact' : 'WRONG',
    ],
  )
  return [
    description(benchmark),
    '',
    markdownTable(HEAD, [...baselineRows, ...loadRows]),
    '',
    ...loads.map(visible),
  ].join('\n')
}

function description(benchmark: Benchmark): string {
  const { events, partitions, bytesPerEvent, cores, node, idleTimeout, loads } = benchmark
  const { windows = 0, groups = 0 } = loads[0] ?? {}
  return (
    `${counted(events, 'event')} of ${Math.round(bytesPerEvent)} bytes in ${counted(partitions, 'partition')}, ` +
    `${counted(windows, 'window')} with ${counted(groups, 'group')} of host, referrer and country; everything on ` +
    `${counted(cores, 'core')}, Node.js ${node.slice(1)}, IDLE_TIMEOUT=${idleTimeout}.`
  )
}

const visible = ({ workers, secondsToVisible, events, problems }: Load) =>
  [
    `With ${counted(workers, 'worker')} the last row was visible after ` +
      `${secondsToVisible.toFixed(1)} s (${grouped(events / secondsToVisible)} events/s).`,
    ...problems,
  ].join('\n')

/** The rates as a Mermaid chart. */
export function chart({ baselines, loads, events }: Benchmark): string {
  const rates: [string, number][] = [
    ['kafkajs alone', baselines.raw.events / baselines.raw.seconds],
    ['and JSON.parse', baselines.parse.events / baselines.parse.seconds],
    ...loads.map(({ workers, secondsToAccepted }): [string, number] => [
      `pipeline, ${counted(workers, 'worker')}`,
      events / secondsToAccepted,
    ]),
  ]
  const top = Math.ceil(Math.max(...rates.map(([, rate]) => rate)) / 100_000) * 100_000
  return [
    '```mermaid',
    'xychart-beta',
    '  title "Events per second"',
    `  x-axis [${rates.map(([name]) => `"${name}"`).join(', ')}]`,
    `  y-axis "events/s" 0 --> ${top}`,
    `  bar [${rates.map(([, rate]) => Math.round(rate)).join(', ')}]`,
    '```',
  ].join('\n')
}
