import type { Kafka } from 'kafkajs'
import { openCountryDatabase } from '../../src/geo/country'
import { eachMessage } from '../oracle/read-log'
import { LogCounter, type Reference } from '../oracle/reference'
import type { History } from '../../src/dev/traffic/synthetic'

/** The pipeline's default size and delay, milliseconds. */
const WINDOW = 5 * 60_000
const DELAY = 60_000

/** Events spread over so many windows, of which the last ended an hour ago. */
export function historyOver(windows: number, events: number): History {
  const now = Date.now()
  const span = windows * WINDOW
  return { events, start: Math.floor((now - span) / WINDOW - 12) * WINDOW, span, now }
}

/** Counts a topic independently of the pipeline. */
export async function countTopic(kafka: Kafka, topic: string): Promise<Reference> {
  const counter = new LogCounter(await openCountryDatabase(), WINDOW, DELAY)
  await eachMessage(kafka, topic, (partition, message) => counter.add(partition, message))
  return counter.counted
}
