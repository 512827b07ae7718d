import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../../src/config'
import { windowStart } from '../../src/core/window/tumbling-window'
import type { Db } from '../../src/postgres/database'
import { withTemporal } from '../../src/temporal/connection'
import { liveSource } from '../../src/dev/traffic/source'
import { produce } from '../../src/sources/produce'
import { ensureTopic } from '../../src/sources/topic'
import { quantilesOf } from '../quantiles'
import { benchKafka } from './history'
import { withPipeline } from './pipeline'

const SETTINGS = { WATERMARK_DELAY: '2s', IDLE_TIMEOUT: '2s' }
/** Milliseconds by which events are out of order: less than the watermark delay. */
const DISORDER = 1_000
/** Windows that are not measured: the worker's code is not compiled yet. */
const WARM_UP_WINDOWS = 4

export interface Live {
  /** Events per second. */
  rate: number
  partitions: number
  workers: number
  events: number
  windows: number
  windowSize: string
  flushInterval: string
  /** Milliseconds from the end of a window plus its watermark delay until its row is visible. */
  latency: { median: number; p99: number; worst: number }
  /** Average number per window of each action, such as `window: signal`. */
  actions: Record<string, number>
}

export interface LiveOptions {
  rates: number[]
  partitions: number
  /** Number of worker processes, and of pollers. */
  workers: number
  windows: number
  /** `WINDOW_SIZE` */
  size: string
  /** `FLUSH_INTERVAL` */
  flush: string
}

/** Measures live traffic at each rate, one after another, each on a new pipeline. */
export async function measureLive(
  options: LiveOptions,
  folder: string,
  signal: AbortSignal,
): Promise<Live[]> {
  const runs: Live[] = []
  for (const rate of options.rates) runs.push(await run(rate, options, join(folder, 'logs'), signal))
  return runs
}

async function run(
  rate: number,
  { partitions, workers, windows, size, flush }: LiveOptions,
  folder: string,
  signal: AbortSignal,
): Promise<Live> {
  const name = `live_${rate}`
  const kafka = benchKafka()
  await ensureTopic(kafka, name, partitions)
  const settings = { ...SETTINGS, KAFKA_TOPIC: name, WINDOW_SIZE: size, FLUSH_INTERVAL: flush }
  return withPipeline({ name, workers, folder, settings }, async ({ config, db }) => {
    console.error(`${rate} events/s, until ${windows} windows have closed …`)
    const people = { seed: 1, referrers: 85, disorder: DISORDER, late: 0, malformed: 0 }
    const { records } = liveSource(people, { rate })
    const enough = new AbortController()
    const stop = AbortSignal.any([signal, enough.signal])
    const traffic = produce({ kafka, topic: name, records, signal: stop })
    const latencies = await watch(db, config, windows + WARM_UP_WINDOWS, signal).finally(() => enough.abort())
    const { sent } = await traffic
    return {
      rate,
      partitions,
      workers,
      events: sent,
      windows,
      windowSize: size,
      flushInterval: flush,
      latency: summary(latencies.slice(WARM_UP_WINDOWS)),
      actions: await actionsPerWindow(config, latencies.length),
    }
  })
}

/** For each window, in order, the milliseconds from when it was due until its row was visible. */
async function watch(db: Db, { settings }: Config, windows: number, signal: AbortSignal): Promise<number[]> {
  const { windowSize, watermarkDelay } = settings
  let newest = new Date(windowStart(Date.now(), windowSize) - 1)
  const latencies: number[] = []
  while (latencies.length < windows) {
    signal.throwIfAborted()
    const rows = await db
      .selectFrom('window_results')
      .select('window_start')
      .where('window_start', '>', newest)
      .orderBy('window_start')
      .execute()
    const seen = Date.now()
    for (const { window_start } of rows) {
      latencies.push(seen - (window_start.getTime() + windowSize + watermarkDelay))
      newest = window_start
    }
    await sleep(10)
  }
  return latencies
}

function summary(latencies: number[]): Live['latency'] {
  const at = quantilesOf(latencies)
  return { median: at(0.5), p99: at(0.99), worst: at(1) }
}

/** History events of what a metered Temporal service counts as an action. */
const ACTIONS = [
  ['workflowExecutionStartedEventAttributes', 'start'],
  ['workflowExecutionSignaledEventAttributes', 'signal'],
  ['workflowExecutionUpdateAcceptedEventAttributes', 'update'],
  ['activityTaskScheduledEventAttributes', 'activity'],
  ['timerStartedEventAttributes', 'timer'],
  ['upsertWorkflowSearchAttributesEventAttributes', 'search attributes'],
] as const

/** Counts the actions in the histories of all runs of all workflows of the pipeline. */
async function actionsPerWindow({ settings }: Config, windows: number): Promise<Record<string, number>> {
  const counts = new Map<string, number>()
  await withTemporal(async client => {
    for await (const { workflowId, runId, type } of client.workflow.list({
      query: `WorkflowId starts_with '${settings.group}/'`,
    })) {
      const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory()
      for (const event of events ?? []) {
        const action = ACTIONS.find(([attributes]) => event[attributes])?.[1]
        if (action) counts.set(`${type}: ${action}`, (counts.get(`${type}: ${action}`) ?? 0) + 1)
      }
    }
  })
  return Object.fromEntries([...counts].sort().map(([name, count]) => [name, count / windows]))
}
