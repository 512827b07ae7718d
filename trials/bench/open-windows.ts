import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { grouped } from '../../src/core/numbers'
import { totalsOf } from '../../src/core/window/ledger'
import { syntheticHistory } from '../../src/dev/traffic/synthetic'
import { PipelineClient } from '../../src/pipeline/pipeline-client'
import { storedTotals } from '../../src/postgres/totals'
import { produce } from '../../src/sources/produce'
import { ensureTopic } from '../../src/sources/topic'
import { withTemporal } from '../../src/temporal/connection'
import { markdownTable } from '../markdown-table'
import { compare } from '../oracle/compare'
import { benchKafka, historyOver, referenceOf } from './history'
import { withPipeline } from './pipeline'
import { MemoryWatch, peakResident } from './usage'

const TOPIC = 'open-windows'
/** With this timeout the silent partition does not count as idle during the run. */
const SETTINGS = { KAFKA_TOPIC: TOPIC, IDLE_TIMEOUT: '10h' }

export interface OpenWindowsResult {
  events: number
  windows: number
  /** Until every window is open and has its counts. */
  secondsToOpen: number
  /** From the record that closes all windows until the last of them is visible. */
  secondsToClose: number
  peakMB: number
  residentMB: { early: number; late: number }
  problems: string[]
}

/**
 * Loads a long history from one partition while another, silent partition keeps every window open; then a record in the
 * silent partition closes them all.
 */
export async function measureOpenWindows(
  { windows, events }: { windows: number; events: number },
  folder: string,
  signal: AbortSignal,
): Promise<OpenWindowsResult> {
  await ensureTopic(benchKafka(), TOPIC, 2)
  const traffic = { seed: 1, referrers: 85, partitions: 1, disorder: 20_000, late: 0, malformed: 0 }
  const records = syntheticHistory(traffic, historyOver(windows, events))
  await produce({ kafka: benchKafka(), topic: TOPIC, records, signal })
  const reference = await referenceOf(TOPIC)
  const pipeline = { name: TOPIC, workers: 1, folder: join(folder, 'logs'), settings: SETTINGS }
  return withPipeline(pipeline, async ({ config, db, processes: [worker] }) => {
    const pid = worker!.pid!
    const memory = new MemoryWatch([pid])
    const began = performance.now()
    const until = async (reached: () => Promise<boolean>) => {
      while (!(await reached())) {
        signal.throwIfAborted()
        await sleep(500)
      }
      return performance.now()
    }
    const opened = await withTemporal(client => {
      const pipeline = new PipelineClient(client, config)
      return until(async () => totalsOf((await pipeline.status())!.ledger).records === events)
    })
    await sendNow()
    const closed = await until(async () => (await storedTotals(db)).records >= events)
    return {
      events,
      windows: (await storedTotals(db)).windows,
      secondsToOpen: (opened - began) / 1_000,
      secondsToClose: (closed - opened) / 1_000,
      peakMB: peakResident(pid),
      residentMB: memory.end(),
      problems: await compare(db, reference),
    }
  })
}

/** Sends an event of the present time to each partition. */
async function sendNow(): Promise<void> {
  const value = JSON.stringify({ event_time: new Date().toISOString(), host: 'closing.example' })
  await produce({
    kafka: benchKafka(),
    topic: TOPIC,
    records: [0, 1].map(partition => ({ value, partition })),
  })
}

/** The result as a Markdown table. */
export function openWindowsTable(result: OpenWindowsResult): string {
  const { events, windows, secondsToOpen, secondsToClose, peakMB, residentMB, problems } = result
  return markdownTable(
    [
      'events',
      'windows open at once',
      's until all are open',
      's until all are visible',
      'peak MB',
      'average MB: 2nd, last quarter',
      'result',
    ],
    [
      [
        grouped(events),
        grouped(windows),
        secondsToOpen.toFixed(0),
        secondsToClose.toFixed(0),
        peakMB,
        `${residentMB.early}, ${residentMB.late}`,
        problems.length === 0 ? 'exact' : `WRONG: ${problems.join('; ')}`,
      ],
    ],
  )
}
