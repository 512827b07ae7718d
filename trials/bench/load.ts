import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { Config } from '../../src/config'
import { windowId } from '../../src/contract/ids'
import { readState, type ComponentName } from '../../src/dev/cluster/state'
import type { Db } from '../../src/postgres/database'
import { storedTotals } from '../../src/postgres/totals'
import { withTemporal } from '../../src/temporal/connection'
import { compare } from '../oracle/compare'
import { totalRecords, type Reference } from '../oracle/reference'
import { withPipeline } from './pipeline'
import { cpuSeconds, MemoryWatch, peakResident } from './usage'

export interface LoadOptions {
  name: string
  topic: string
  workers: number
  /** The folder of the cluster, and one for the workers' logs. */
  cluster: string
  logs: string
  /** Settings in addition to those of the servers and the topic. */
  settings: Record<string, string>
  reference: Reference
  signal: AbortSignal
}

export interface Load {
  workers: number
  events: number
  /** From the first partition claimed to the last delta accepted by its window. */
  secondsToAccepted: number
  /** From the same moment until the last row is visible in Postgres. */
  secondsToVisible: number
  /** CPU seconds in that time, by program. */
  cpu: Record<'workers' | ComponentName, number>
  /** The highest resident memory of any worker, MB. */
  peakMB: number
  /** Average resident memory of the largest worker, in the second quarter of the time and in the last, MB. */
  residentMB: { early: number; late: number }
  windows: number
  groups: number
  /** Averages per window workflow. */
  perWindow: { messages: number; historyEvents: number; historyBytes: number }
  /** Where the tables differ from the independent count; empty if everything is right. */
  problems: string[]
}

type Usage = Load['cpu']

/** Loads a topic with a new pipeline and new workers, and compares the result with an independent count. */
export function load(options: LoadOptions): Promise<Load> {
  const { name, topic, workers, reference, cluster, signal } = options
  const settings = { KAFKA_TOPIC: topic, ...options.settings }
  return withPipeline({ name, workers, folder: options.logs, settings }, async pipeline => {
    const { config, db, processes, logs } = pipeline
    const pids = processes.map(({ pid }) => pid!)
    const began = await firstClaim(logs, signal)
    const before = await usage(pids, cluster)
    const memory = new MemoryWatch(pids)
    const events = totalRecords(reference)
    while ((await storedTotals(db)).records < events) {
      signal.throwIfAborted()
      await sleep(100)
    }
    const residentMB = memory.end()
    const ended = Date.now()
    const after = await usage(pids, cluster)
    const names = Object.keys(after) as (keyof Usage)[]
    return {
      workers,
      events,
      secondsToAccepted: (loggedAt(logs, 'flushed').at(-1)! - began) / 1_000,
      secondsToVisible: (ended - began) / 1_000,
      cpu: Object.fromEntries(names.map(name => [name, after[name] - before[name]])) as Usage,
      peakMB: Math.max(...pids.map(peakResident)),
      residentMB,
      ...(await windowsOf(db, config)),
      problems: await compare(db, reference),
    }
  })
}

/** When the workers logged a message, epoch ms, in order. */
function loggedAt(logs: string[], message: string): number[] {
  return logs
    .flatMap(log => readFileSync(log, 'utf8').split('\n'))
    .filter(line => line.includes(`"msg":"${message}"`))
    .map(line => (JSON.parse(line) as { time: number }).time)
    .sort((a, b) => a - b)
}

async function firstClaim(logs: string[], signal: AbortSignal): Promise<number> {
  for (;;) {
    signal.throwIfAborted()
    const [first] = loggedAt(logs, 'claimed partitions')
    if (first !== undefined) return first
    await sleep(20)
  }
}

async function usage(workers: number[], cluster: string): Promise<Usage> {
  const components = readState(cluster)?.components ?? {}
  const component = (name: ComponentName) => cpuSeconds(components[name]!.process!.pid)
  return {
    workers: sum(await Promise.all(workers.map(cpuSeconds))),
    temporal: await component('temporal'),
    postgres: await component('postgres'),
    kafka: await component('kafka'),
  }
}

async function windowsOf(db: Db, config: Config): Promise<Pick<Load, 'windows' | 'groups' | 'perWindow'>> {
  const windows = await db.selectFrom('window_results').select(['window_start', 'groups']).execute()
  const histories = await withTemporal(client =>
    Promise.all(windows.map(({ window_start }) => historyOf(client, config, window_start.getTime()))),
  )
  const average = (key: keyof Load['perWindow']) =>
    sum(histories.map(history => history[key])) / histories.length
  return {
    windows: windows.length,
    groups: sum(windows.map(({ groups }) => groups)),
    perWindow: {
      messages: average('messages'),
      historyEvents: average('historyEvents'),
      historyBytes: average('historyBytes'),
    },
  }
}

/** Of the last run of a window; earlier runs, if it continued as new, are not counted. */
async function historyOf(client: Client, config: Config, start: number): Promise<Load['perWindow']> {
  const handle = client.workflow.getHandle(windowId(config.settings.group, start))
  const { historyLength, historySize = 0 } = await handle.describe()
  const { events } = await handle.fetchHistory()
  const messages = events?.filter(event => event.workflowExecutionSignaledEventAttributes).length ?? 0
  return { messages, historyEvents: historyLength, historyBytes: historySize }
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
