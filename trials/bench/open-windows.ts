import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PipelineClient } from '../../src/pipeline/pipeline-client'
import { totalsOf } from '../../src/core/window/ledger'
import { kafkaClient } from '../../src/kafka/client'
import { compare } from '../oracle/compare'
import type { Reference } from '../oracle/reference'
import { storedTotals } from '../../src/postgres/totals'
import { withTemporal } from '../../src/temporal/connection'
import { produce } from '../../src/sources/produce'
import { syntheticHistory } from '../../src/dev/traffic/synthetic'
import { ensureTopic } from '../../src/sources/topic'
import { countTopic, historyOver } from './history'
import { withPipeline } from './pipeline'
import { MemoryWatch, peakResident } from './usage'

const TOPIC = 'open-windows'
/** Longer than any run: the silent partition is waited for. */
const SETTINGS = { KAFKA_TOPIC: TOPIC, IDLE_TIMEOUT: '10h' }

export interface OpenWindowsResult {
  events: number
  windows: number
  /** Until every window is open and holds its counts. */
  secondsToOpen: number
  /** From the record that closes them all to the last of them visible. */
  secondsToClose: number
  peakMB: number
  residentMB: { early: number; late: number }
  problems: string[]
}

/**
 * A long history in one partition, while another one that has nothing yet holds every window open; then a record in it
 * closes them all. How many windows can be open at once is a matter of Temporal, not of a worker's memory.
 */
export async function measureOpenWindows(
  { windows, events }: { windows: number; events: number },
  folder: string,
  signal: AbortSignal,
): Promise<OpenWindowsResult> {
  const kafka = kafkaClient({ brokers: [process.env.KAFKA_URL!] }, 'bench')
  await ensureTopic(kafka, TOPIC, 2)
  const reference = await fill(windows, events)
  return withPipeline(
    { name: TOPIC, workers: 1, folder: join(folder, 'logs'), settings: SETTINGS },
    async ({ config, db, processes: [worker] }) => {
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
      await close(Date.now())
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
    },
  )

  async function fill(windows: number, events: number): Promise<Reference> {
    const people = { seed: 1, referrers: 85, partitions: 1, disorder: 20_000, late: 0, malformed: 0 }
    const records = syntheticHistory(people, historyOver(windows, events))
    await produce({ kafka, topic: TOPIC, records, signal })
    return countTopic(kafka, TOPIC)
  }

  /** An event of now in each partition. */
  async function close(now: number): Promise<void> {
    const value = JSON.stringify({ event_time: new Date(now).toISOString(), host: 'closing.example' })
    await produce({ kafka, topic: TOPIC, records: [0, 1].map(partition => ({ value, partition })) })
  }
}

/** The figures as a Markdown table. */
export function openWindowsTable(result: OpenWindowsResult): string {
  const { events, windows, secondsToOpen, secondsToClose, peakMB, residentMB, problems } = result
  return [
    '| events | windows open at once | s until all are open | s until all are visible | peak MB | resident early, late | result |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    `| ${[
      events.toLocaleString('en-US'),
      windows.toLocaleString('en-US'),
      secondsToOpen.toFixed(0),
      secondsToClose.toFixed(0),
      peakMB,
      `${residentMB.early}, ${residentMB.late}`,
      problems.length === 0 ? 'exact' : `WRONG: ${problems.join('; ')}`,
    ].join(' | ')} |`,
  ].join('\n')
}
