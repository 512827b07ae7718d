import type { KafkaMessage } from 'kafkajs'
import type { LocateCountry } from '../../src/geo/country'

export interface Reference {
  hits: Map<string, number>
  late: Map<string, number>
  rejected: number
}

/**
 * Counts a topic as read by kafkajs alone, by the rules as written down and nothing of the product but the
 * country look-up. Keys are `start|host|referrer|country`, start in ISO 8601.
 */
export class LogCounter {
  readonly counted: Reference = { hits: new Map(), late: new Map(), rejected: 0 }
  private readonly newest: number[] = []

  constructor(
    private readonly locate: LocateCountry,
    private readonly windowSize: number,
    private readonly delay: number,
  ) {}

  /** The records of a partition, in their order. */
  add(partition: number, { value, timestamp }: KafkaMessage): void {
    const { counted } = this
    const newest = this.newest[partition] ?? -Infinity
    const event = parse(value)
    const time = event ? Date.parse(event.event_time) : NaN
    if (!event || Number.isNaN(time) || time > Number(timestamp) + 60_000) {
      counted.rejected++
      return
    }
    const start = time - (time % this.windowSize)
    const key = [
      new Date(start).toISOString(),
      event.host,
      event.referrer.replace(/^-$/, ''),
      this.locate(event.ip),
    ].join('|')
    const into = start + this.windowSize <= newest - this.delay ? counted.late : counted.hits
    into.set(key, (into.get(key) ?? 0) + 1)
    this.newest[partition] = Math.max(newest, Math.min(time, Number(timestamp)))
  }
}

export function countLog(
  log: KafkaMessage[][],
  locate: LocateCountry,
  windowSize: number,
  delay: number,
): Reference {
  const counter = new LogCounter(locate, windowSize, delay)
  log.forEach((messages, partition) => messages.forEach(message => counter.add(partition, message)))
  return counter.counted
}

interface Event {
  event_time: string
  host: string
  referrer: string
  ip: string
}

function parse(value: Buffer | null): Event | undefined {
  try {
    const event = JSON.parse(value?.toString() ?? '') as Partial<Event> | null
    return event?.event_time && event.host && event.host.length <= 255 ? (event as Event) : undefined
  } catch {
    return undefined
  }
}

export interface CountedRow {
  window_start: Date
  host?: string
  referrer?: string
  country?: string
  num_hits: number | string
}

/** `num_hits` of a table by the same keys, as far as it has their columns; rows of one key are added up. */
export function byGroup(rows: CountedRow[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { window_start, host, referrer, country, num_hits } of rows) {
    const key = [window_start.toISOString(), host, referrer, country]
      .filter(part => part !== undefined)
      .join('|')
    counts.set(key, (counts.get(key) ?? 0) + Number(num_hits))
  }
  return counts
}

/** Adds counts up by the first so many parts of their keys. */
export function fold(counts: Map<string, number>[], parts = 4): Map<string, number> {
  const folded = new Map<string, number>()
  for (const [key, count] of counts.flatMap(map => [...map])) {
    const short = key.split('|').slice(0, parts).join('|')
    folded.set(short, (folded.get(short) ?? 0) + count)
  }
  return folded
}

export function totalOf(counts: Map<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0)
}

/** The first few keys whose counts differ: a whole diff of a hundred thousand rows helps nobody. */
export function differences(actual: Map<string, number>, expected: Map<string, number>): string[] {
  const keys = new Set([...actual.keys(), ...expected.keys()])
  return [...keys]
    .filter(key => actual.get(key) !== expected.get(key))
    .slice(0, 5)
    .map(key => `${key}: ${actual.get(key)} instead of ${expected.get(key)}`)
}
