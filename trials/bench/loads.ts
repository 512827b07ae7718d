import { execFile } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { counted } from '../../src/core/numbers'
import { syntheticHistory } from '../../src/dev/traffic/synthetic'
import { produce } from '../../src/sources/produce'
import type { Baseline } from './baseline'
import { benchKafka, historyOver, referenceOf } from './history'
import { load, type Load } from './load'

const TOPIC = 'bench'
const EVENTS_PER_WINDOW = 83_333
/** Gives a window about 3,650 groups of host and referrer. */
const REFERRERS = 85
/** Short, so that the last windows close soon after the last record. */
const IDLE_TIMEOUT = '1s'

export interface LoadsOptions {
  events: number
  partitions: number
  /** How many windows the events are spread over; by default one per 83,333 events. */
  windows?: number
  /** Numbers of worker processes, with one load for each. */
  workers: number[]
}

export interface Benchmark {
  events: number
  partitions: number
  bytesPerEvent: number
  cores: number
  node: string
  idleTimeout: string
  baselines: Record<'raw' | 'parse', Baseline>
  loads: Load[]
}

/**
 * Measures how fast each number of workers loads a topic, one load after another, and how fast kafkajs alone reads it.
 *
 * @param folder has the running cluster in `cluster`
 */
export async function measureLoads(
  options: LoadsOptions,
  folder: string,
  signal: AbortSignal,
): Promise<Benchmark> {
  const { events, partitions, workers } = options
  const bytes = await fill(options, signal)
  console.error('counting them independently …')
  const reference = await referenceOf(TOPIC)
  const baselines = {
    raw: await measureBaseline('raw', events),
    parse: await measureBaseline('parse', events),
  }
  const loads: Load[] = []
  for (const number of workers) {
    console.error(`loading ${counted(events, 'event')} with ${counted(number, 'worker')} …`)
    loads.push(
      await load({
        name: `bench_${number}`,
        topic: TOPIC,
        workers: number,
        cluster: join(folder, 'cluster'),
        logs: join(folder, 'logs'),
        settings: { IDLE_TIMEOUT },
        reference,
        signal,
      }),
    )
  }
  return {
    events,
    partitions,
    bytesPerEvent: bytes / events,
    cores: availableParallelism(),
    node: process.version,
    idleTimeout: IDLE_TIMEOUT,
    baselines,
    loads,
  }
}

/** Fills the topic with history; returns the bytes of its values. */
async function fill(options: LoadsOptions, signal: AbortSignal): Promise<number> {
  const { events, partitions, windows = Math.max(1, Math.round(events / EVENTS_PER_WINDOW)) } = options
  console.error(`sending ${counted(events, 'event')} …`)
  const traffic = { seed: 1, referrers: REFERRERS, disorder: 20_000, late: 0.001, malformed: 0.0005 }
  let bytes = 0
  function* records(partitions: number) {
    for (const record of syntheticHistory({ ...traffic, partitions }, historyOver(windows, events))) {
      bytes += record.value?.length ?? 0
      yield record
    }
  }
  await produce({ kafka: benchKafka(), topic: TOPIC, partitions, records, signal })
  signal.throwIfAborted()
  return bytes
}

async function measureBaseline(mode: 'raw' | 'parse', events: number): Promise<Baseline> {
  console.error(`reading the topic with kafkajs alone, ${mode} …`)
  const args = [join(__dirname, 'baseline.js'), mode, process.env.KAFKA_URL!, TOPIC, String(events)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return JSON.parse(stdout) as Baseline
}
