import { execFile } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { kafkaClient } from '../../src/kafka/client'
import { produce } from '../../src/sources/produce'
import { syntheticHistory } from '../../src/dev/traffic/synthetic'
import type { Drained } from './drain'
import { countTopic, historyOver } from './history'
import { load, type Load } from './load'
import { counted } from '../../src/core/numbers'

const TOPIC = 'bench'
const EVENTS_A_WINDOW = 83_333
/** With so many referrers a window has about 3,650 groups of host and referrer. */
const REFERRERS = 85
/** After the last record so long, and the last windows close. */
const IDLE_TIMEOUT = '1s'

export interface LoadsOptions {
  events: number
  partitions: number
  /** Over which the events are spread; one for every 83,333 events where it is not given. */
  windows?: number
  /** Numbers of worker processes, a load for each. */
  workers: number[]
}

export interface Benchmark {
  events: number
  partitions: number
  bytesPerEvent: number
  cores: number
  node: string
  idleTimeout: string
  drains: Record<'raw' | 'parse', Drained>
  loads: Load[]
}

/**
 * How fast a topic of history is loaded by so many workers, one load after another, beside what kafkajs alone can do.
 *
 * @param folder holds the running cluster as `cluster`
 */
export async function measureLoads(
  options: LoadsOptions,
  folder: string,
  signal: AbortSignal,
): Promise<Benchmark> {
  const brokers = process.env.KAFKA_URL!
  const { events, partitions, workers } = options
  const bytes = await fill(brokers, options, signal)
  say('counting them independently …')
  const reference = await countTopic(kafkaClient({ brokers: [brokers] }, 'bench'), TOPIC)
  const drains = { raw: await drain('raw', brokers, events), parse: await drain('parse', brokers, events) }
  const loads: Load[] = []
  for (const number of workers) {
    say(`loading ${counted(events, 'event')} with ${counted(number, 'worker')} …`)
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
    drains,
    loads,
  }
}

/** Fills the topic with history; resolves with the bytes of its values. */
async function fill(
  brokers: string,
  { events, partitions, windows = Math.max(1, Math.round(events / EVENTS_A_WINDOW)) }: LoadsOptions,
  signal: AbortSignal,
): Promise<number> {
  say(`sending ${counted(events, 'event')} …`)
  const history = historyOver(windows, events)
  let bytes = 0
  function* records(partitions: number) {
    const options = {
      seed: 1,
      referrers: REFERRERS,
      partitions,
      disorder: 20_000,
      late: 0.001,
      malformed: 0.0005,
    }
    for (const record of syntheticHistory(options, history)) {
      bytes += record.value?.length ?? 0
      yield record
    }
  }
  await produce({
    kafka: kafkaClient({ brokers: [brokers] }, 'bench'),
    topic: TOPIC,
    partitions,
    records,
    signal,
  })
  signal.throwIfAborted()
  return bytes
}

async function drain(mode: 'raw' | 'parse', brokers: string, events: number): Promise<Drained> {
  say(`draining the topic with kafkajs alone, ${mode} …`)
  const args = [join(__dirname, 'drain.js'), mode, brokers, TOPIC, String(events)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return JSON.parse(stdout) as Drained
}

function say(line: string): void {
  console.error(line)
}
