import type { Benchmark } from './loads'
import type { Load } from './load'
import { counted, grouped } from '../../src/core/numbers'

/** The figures as a Markdown table. */
export function table(benchmark: Benchmark): string {
  const { drains, loads, events } = benchmark
  const raw = drains.raw.events / drains.raw.seconds
  const drained = (['raw', 'parse'] as const).map(mode => {
    const { seconds, cpuSeconds, peakMB, events } = drains[mode]
    const what = mode === 'raw' ? 'kafkajs alone' : 'kafkajs and `JSON.parse`'
    return row(what, events / seconds, raw, [
      perMillion(cpuSeconds, events),
      '',
      '',
      '',
      String(peakMB),
      '',
      '',
      '',
      '',
    ])
  })
  const loaded = loads.map(load => {
    const { workers, cpu, peakMB, residentMB, perWindow, problems } = load
    const each = [cpu.workers, cpu.temporal, cpu.postgres, cpu.kafka].map(seconds =>
      perMillion(seconds, events),
    )
    const what = `pipeline, ${counted(workers, 'worker')}`
    return row(what, events / load.secondsToAccepted, raw, [
      ...each,
      String(peakMB),
      `${residentMB.early}, ${residentMB.late}`,
      perWindow.messages.toFixed(1),
      `${Math.round(perWindow.historyBytes / 1_000)} kB`,
      problems.length === 0 ? 'exact' : 'WRONG',
    ])
  })
  const head = [
    '',
    'events/s',
    'of the raw drain',
    'CPU s/million: workers',
    'Temporal',
    'Postgres',
    'Kafka',
    'peak MB a worker',
    'resident early, late',
    'messages a window',
    'history a window',
    'result',
  ]
  const lines = [head, head.map(() => '---'), ...drained, ...loaded].map(cells => `| ${cells.join(' | ')} |`)
  return [description(benchmark), '', ...lines, '', ...loads.map(visible)].join('\n')
}

function description({
  events,
  partitions,
  bytesPerEvent,
  cores,
  node,
  idleTimeout,
  loads,
}: Benchmark): string {
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

function row(what: string, perSecond: number, raw: number, rest: string[]): string[] {
  return [what, grouped(perSecond), (perSecond / raw).toFixed(2), ...rest]
}

/** The rates as a chart that Markdown viewers with Mermaid draw. */
export function chart({ drains, loads, events }: Benchmark): string {
  const rates: [string, number][] = [
    ['kafkajs alone', drains.raw.events / drains.raw.seconds],
    ['and JSON.parse', drains.parse.events / drains.parse.seconds],
    ...loads.map(({ workers, secondsToAccepted }): [string, number] => [
      `pipeline, ${counted(workers, 'worker')}`,
      events / secondsToAccepted,
    ]),
  ]
  return [
    '```mermaid',
    'xychart-beta',
    '  title "Events a second"',
    `  x-axis [${rates.map(([name]) => `"${name}"`).join(', ')}]`,
    '  y-axis "events/s" 0 --> ' +
      String(Math.ceil(Math.max(...rates.map(([, rate]) => rate)) / 100_000) * 100_000),
    `  bar [${rates.map(([, rate]) => Math.round(rate)).join(', ')}]`,
    '```',
  ].join('\n')
}

function perMillion(seconds: number, events: number): string {
  return ((seconds / events) * 1e6).toFixed(1)
}
