import type { KafkaMessage } from 'kafkajs'
import type { LocateCountry } from '../../src/geo/country'

/** Counts by `start|host|referrer|country`, with the start of the window in ISO 8601. */
export interface Reference {
  hits: Map<string, number>
  late: Map<string, number>
  rejected: number
}

/**
 * Counts a topic independently of the product: by the documented rules, on records read with kafkajs. It shares only
 * the country lookup. Takes the records of each partition in order.
 */
export class LogCounter {
  readonly counted: Reference = { hits: new Map(), late: new Map(), rejected: 0 }
  records = 0
  /** Bytes of the records' values. */
  bytes = 0
  /** The longest time between two records of one partition, by Kafka's timestamps, in milliseconds. */
  longestSilence = 0
  private readonly newest: number[] = []
  private readonly lastRecord: number[] = []

  constructor(
    private readonly locate: LocateCountry,
    private readonly windowSize: number,
    private readonly watermarkDelay: number,
  ) {}

  /** @param missing how many records before this one were removed by compaction; they count as rejected */
  add(partition: number, { value, timestamp }: KafkaMessage, missing = 0): void {
    const { counted } = this
    const appended = Number(timestamp)
    counted.rejected += missing
    this.records += missing + 1
    this.bytes += value?.length ?? 0
    this.longestSilence = Math.max(this.longestSilence, appended - (this.lastRecord[partition] ?? appended))
    this.lastRecord[partition] = appended
    const event = parse(value)
    const time = event ? Date.parse(event.event_time) : NaN
    if (!event || Number.isNaN(time) || time > appended + 60_000) {
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
    const newest = this.newest[partition] ?? -Infinity
    const into = start + this.windowSize <= newest - this.watermarkDelay ? counted.late : counted.hits
    into.set(key, (into.get(key) ?? 0) + 1)
    this.newest[partition] = Math.max(newest, Math.min(time, appended))
  }
}

/** Counts a log in memory: the records of each partition. Sizes and delays in milliseconds. */
export function countLog(
  log: KafkaMessage[][],
  locate: LocateCountry,
  windowSize: number,
  watermarkDelay: number,
): Reference {
  const counter = new LogCounter(locate, windowSize, watermarkDelay)
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

/** Sums `num_hits` of a table's rows by the key of {@link Reference}, shortened to the columns that the table has. */
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

/** Sums counts by the first `parts` parts of their keys. */
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

/** How many records a reference accounts for. */
export function totalRecords({ hits, late, rejected }: Reference): number {
  return totalOf(hits) + totalOf(late) + rejected
}

/** One line for each of the first five keys whose counts differ. */
export function differences(actual: Map<string, number>, expected: Map<string, number>): string[] {
  const keys = new Set([...actual.keys(), ...expected.keys()])
  return [...keys]
    .filter(key => actual.get(key) !== expected.get(key))
    .slice(0, 5)
    .map(key => `${key}: ${actual.get(key)} instead of ${expected.get(key)}`)
}
