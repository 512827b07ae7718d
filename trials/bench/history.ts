import { kafkaClient } from '../../src/kafka/client'
import type { History } from '../../src/dev/traffic/synthetic'
import { countTopic } from '../oracle/read-log'
import type { Reference } from '../oracle/reference'

/** The pipeline's defaults, in milliseconds. */
const RULES = { windowSize: 5 * 60_000, watermarkDelay: 60_000 }

export const benchKafka = () => kafkaClient({ brokers: [process.env.KAFKA_URL!] }, 'bench')

/** Events spread over a number of windows; the last window ended an hour ago. */
export function historyOver(windows: number, events: number): History {
  const now = Date.now()
  const span = windows * RULES.windowSize
  return { events, start: (Math.floor((now - span) / RULES.windowSize) - 12) * RULES.windowSize, span, now }
}

/** Counts a topic independently of the pipeline. */
export async function referenceOf(topic: string): Promise<Reference> {
  return (await countTopic(benchKafka(), topic, RULES)).counted
}
