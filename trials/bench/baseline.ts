import { randomUUID } from 'node:crypto'
import { kafkaClient } from '../../src/kafka/client'
import { FETCH } from '../../src/kafka/group-reader'
import { peakResident } from './usage'

export interface Baseline {
  events: number
  seconds: number
  cpuSeconds: number
  peakMB: number
}

/**
 * Measures kafkajs alone: reads a topic to its end and does nothing with the values (`raw`), or only `JSON.parse` (`parse`).
 * Run as its own process, `node baseline.js raw|parse BROKERS TOPIC EVENTS`, which prints {@link Baseline} as JSON.
 */
async function readTopic(mode: string, brokers: string, topic: string, events: number): Promise<Baseline> {
  const consumer = kafkaClient({ brokers: brokers.split(',') }, 'bench').consumer({
    groupId: `bench-${randomUUID()}`,
    ...FETCH,
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let began = 0
  let before = process.cpuUsage()
  let read = 0
  await new Promise<void>((resolve, reject) => {
    consumer
      .run({
        autoCommit: false,
        partitionsConsumedConcurrently: 4,
        eachBatch: ({ batch }) => {
          if (began === 0) {
            began = performance.now()
            before = process.cpuUsage()
          }
          if (mode === 'parse') batch.messages.forEach(({ value }) => parse(value))
          read += batch.messages.length
          if (read >= events) resolve()
          return Promise.resolve()
        },
      })
      .catch(reject)
  })
  const seconds = (performance.now() - began) / 1_000
  const { user, system } = process.cpuUsage(before)
  return { events: read, seconds, cpuSeconds: (user + system) / 1e6, peakMB: peakResident(process.pid) }
}

function parse(value: Buffer | null): void {
  try {
    JSON.parse(String(value))
  } catch {
    // The topic has a few malformed records.
  }
}

const [mode = '', brokers = '', topic = '', events = ''] = process.argv.slice(2)
void readTopic(mode, brokers, topic, Number(events)).then(baseline => {
  console.log(JSON.stringify(baseline))
  process.exit()
})
