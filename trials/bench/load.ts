import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { ComponentName } from '../../src/dev/cluster'
import { readState } from '../../src/dev/cluster/state'
import type { Config } from '../../src/config'
import { windowId } from '../../src/contract/ids'
import { compare } from '../oracle/compare'
import { totalOf, type Reference } from '../oracle/reference'
import type { Db } from '../../src/postgres/database'
import { storedTotals } from '../../src/postgres/totals'
import { withTemporal } from '../../src/temporal/connection'
import { withPipeline } from './pipeline'
import { cpuSeconds, MemoryWatch, peakResident } from './usage'

export interface LoadOptions {
  name: string
  topic: string
  workers: number
  /** Folder of the cluster, and one for the workers' logs. */
  cluster: string
  logs: string
  /** Settings beside those of the servers and the topic. */
  settings: Record<string, string>
  reference: Reference
  signal: AbortSignal
}

export interface Load {
  workers: number
  events: number
  /** From the first partition claimed to the last delta accepted by its window. */
  secondsToAccepted: number
  /** From the same moment to the last row visible in Postgres. */
  secondsToVisible: number
  /** CPU seconds in that time, by program. */
  cpu: Record<'workers' | ComponentName, number>
  /** The most memory resident at once in one worker, MB. */
  peakMB: number
  /** What the largest worker had resident on average, in the second quarter of the time and in the last, MB. */
  residentMB: { early: number; late: number }
  windows: number
  groups: number
  /** Of a window's workflow, on average. */
  perWindow: { messages: number; historyEvents: number; historyBytes: number }
  /** Where the tables differ from the independent count; none where they are right. */
  problems: string[]
}

type Usage = Load['cpu']

/** Loads a topic with a new pipeline and workers of its own, and holds the result against an independent count. */
export function load(options: LoadOptions): Promise<Load> {
  const { name, topic, workers, reference, cluster, signal } = options
  const settings = { KAFKA_TOPIC: topic, ...options.settings }
  return withPipeline({ name, workers, folder: options.logs, settings }, async pipeline => {
    const { config, db, processes, logs } = pipeline
    const pids = processes.map(({ pid }) => pid!)
    const [began] = await untilLogged(logs, 'claimed partitions', signal)
    const before = await usage(pids, cluster)
    const memory = new MemoryWatch(pids)
    const events = await untilVisible(db, options)
    const residentMB = memory.end()
    const ended = Date.now()
    const after = await usage(pids, cluster)
    const flushed = loggedAt(logs, 'flushed')
    return {
      workers,
      events,
      secondsToAccepted: (flushed.at(-1)! - began!) / 1_000,
      secondsToVisible: (ended - began!) / 1_000,
      cpu: difference(before, after),
      peakMB: Math.max(...pids.map(peakResident)),
      residentMB,
      ...(await windowsOf(db, config)),
      problems: await compare(db, reference),
    }
  })
}

async function untilVisible(db: Db, { reference, signal }: LoadOptions): Promise<number> {
  const events = totalOf(reference.hits) + totalOf(reference.late) + reference.rejected
  for (;;) {
    signal.throwIfAborted()
    if ((await storedTotals(db)).records >= events) return events
    await sleep(100)
  }
}

/** The moments, epoch milliseconds, at which the workers logged this. */
function loggedAt(logs: string[], message: string): number[] {
  const moments: number[] = []
  for (const log of logs)
    for (const line of readFileSync(log, 'utf8').split('\n'))
      if (line.includes(`"msg":"${message}"`)) moments.push((JSON.parse(line) as { time: number }).time)
  return moments.sort((a, b) => a - b)
}

async function untilLogged(logs: string[], message: string, signal: AbortSignal): Promise<number[]> {
  for (;;) {
    signal.throwIfAborted()
    const moments = loggedAt(logs, message)
    if (moments.length > 0) return moments
    await sleep(20)
  }
}

async function usage(workers: number[], cluster: string): Promise<Usage> {
  const of = async (pids: number[]) => sum(await Promise.all(pids.map(cpuSeconds)))
  const components = readState(cluster)?.components ?? {}
  const component = (name: ComponentName) => of([components[name]?.process?.pid ?? []].flat())
  return {
    workers: await of(workers),
    temporal: await component('temporal'),
    postgres: await component('postgres'),
    kafka: await component('kafka'),
  }
}

function difference(before: Usage, after: Usage): Usage {
  const names = Object.keys(after) as (keyof Usage)[]
  return Object.fromEntries(names.map(name => [name, after[name] - before[name]])) as Usage
}

async function windowsOf(db: Db, config: Config): Promise<Pick<Load, 'windows' | 'groups' | 'perWindow'>> {
  const windows = await db.selectFrom('window_results').select(['window_start', 'groups']).execute()
  const starts = windows.map(({ window_start }) => window_start.getTime())
  const histories = await withTemporal(client =>
    Promise.all(starts.map(start => historyOf(client, config, start))),
  )
  const average = (pick: (history: History) => number) => sum(histories.map(pick)) / histories.length
  return {
    windows: windows.length,
    groups: sum(windows.map(({ groups }) => groups)),
    perWindow: {
      messages: average(({ messages }) => messages),
      historyEvents: average(({ events }) => events),
      historyBytes: average(({ bytes }) => bytes),
    },
  }
}

interface History {
  messages: number
  events: number
  bytes: number
}

/** Of the last run of a window, which has all of them where it was not continued as new. */
async function historyOf(client: Client, config: Config, start: number): Promise<History> {
  const handle = client.workflow.getHandle(windowId(config.settings.group, start))
  const { historyLength, historySize = 0 } = await handle.describe()
  const { events } = await handle.fetchHistory()
  const messages = events?.filter(event => event.workflowExecutionSignaledEventAttributes).length ?? 0
  return { messages, events: historyLength, bytes: historySize }
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
