import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../../src/config'
import { windowStart } from '../../src/core/window/tumbling-window'
import { kafkaClient } from '../../src/kafka/client'
import type { Db } from '../../src/postgres/database'
import { withTemporal } from '../../src/temporal/connection'
import { produce } from '../../src/sources/produce'
import { ensureTopic } from '../../src/sources/topic'
import { withPipeline } from './pipeline'
import { quantileOf } from './quantile'
import { liveSource } from '../../src/dev/traffic/source'

const SETTINGS = { WATERMARK_DELAY: '2s', IDLE_TIMEOUT: '2s' }
/** Milliseconds by which events are out of order: within the watermark delay. */
const DISORDER = 1_000
/** The first windows meet a worker whose code is not compiled yet, and a topic that nobody has read. */
const WARM_UP_WINDOWS = 4

export interface Live {
  /** Events a second. */
  rate: number
  partitions: number
  workers: number
  events: number
  windows: number
  windowSize: string
  flushInterval: string
  /** From the end of a window and its watermark delay to its row being visible, milliseconds. */
  latency: { median: number; p99: number; worst: number }
  /** What the workflows did, by kind and workflow, a window on average. */
  actions: Record<string, number>
}

interface LiveOptions {
  rates: number[]
  partitions: number
  /** Worker processes, each with a poller. */
  workers: number
  windows: number
  /** `WINDOW_SIZE` */
  size: string
  /** `FLUSH_INTERVAL` */
  flush: string
}

/** Live traffic of each rate, one after another, each on a pipeline of its own. */
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
  const kafka = kafkaClient({ brokers: [process.env.KAFKA_URL!] }, 'bench')
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

/** Milliseconds from when each window was due to when its row was seen, in the order of seeing. */
async function watch(db: Db, { settings }: Config, windows: number, signal: AbortSignal): Promise<number[]> {
  const { windowSize, watermarkDelay } = settings
  // The window in which the traffic begins is as good as any other: it closes at its time.
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
  const at = quantileOf(latencies)
  return { median: at(0.5), p99: at(0.99), worst: at(1) }
}

/** Events of a history that stand for something a metered Temporal service counts as an action. */
const ACTIONS = [
  ['workflowExecutionStartedEventAttributes', 'start'],
  ['workflowExecutionSignaledEventAttributes', 'signal'],
  ['workflowExecutionUpdateAcceptedEventAttributes', 'update'],
  ['activityTaskScheduledEventAttributes', 'activity'],
  ['timerStartedEventAttributes', 'timer'],
  ['upsertWorkflowSearchAttributesEventAttributes', 'search attributes'],
] as const

/** As `window: signal`, a window on average, from the histories of all runs of all workflows of the pipeline. */
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
