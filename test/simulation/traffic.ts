import type { LoggedRecord } from './kafka'
import type { Random } from './random'
import { countOne, type Counts } from './counts'

export const WINDOW = 60_000
export const DELAY = 10_000
export const MAX_FUTURE = 5_000
const QUIET_FOR = 3 * WINDOW
const START = Date.UTC(2026, 0, 1)

/** The event in a record; its time is epoch ms. */
export interface TrafficEvent {
  time: number
  host: string
  country: string
}

/** A record that arrives, and gets its timestamp, at a simulated time (epoch ms). */
export interface Arrival {
  partition: number
  at: number
  /** Offsets before it that have no record, as transaction markers leave them. */
  gap: number
  /** Records before it that compaction has removed. */
  removed: number
  value: string | null
  event: TrafficEvent | null
}

/** Live traffic or history, with disorder, late, future and malformed records, and partitions that fall silent. */
export function inventTraffic(random: Random, partitions: number, records: number): Arrival[] {
  const span = (2 + random.below(5)) * WINDOW
  const history = random.chance(0.3)
  const silent = random.chance(0.5) ? random.below(partitions) : -1
  const arrivals = Array.from({ length: records }, (): Arrival => {
    const place = random.below(span)
    const partition = random.below(partitions)
    const at = START + (history ? span + random.below(WINDOW) : place)
    const gap = random.chance(0.05) ? 1 + random.below(3) : 0
    const removed = random.chance(0.05) ? 1 + random.below(3) : 0
    const sent = { partition, at, gap, removed }
    if (random.chance(0.03)) return { ...sent, value: random.pick([null, 'no JSON', '[]']), event: null }
    const behind = random.chance(0.1) ? random.below(3 * WINDOW) : random.below(DELAY)
    const ahead = random.chance(0.03) ? 2 * random.below(2 * MAX_FUTURE) : 0
    const time = (history && ahead > 0 ? at : START + place) - behind + ahead
    const event = { time, host: random.pick(['h0', 'h1']), country: random.pick(['DE', 'FR']) }
    return { ...sent, value: encode(event), event }
  })
  // A partition that falls silent, and resumes when windows may have closed without it.
  const quiet = START + span / 3
  for (const arrival of arrivals)
    if (!history && arrival.partition === silent && arrival.at > quiet) arrival.at += QUIET_FOR
  return arrivals.sort((a, b) => (history ? 0 : a.at - b.at))
}

function encode({ time, host, country }: TrafficEvent): string {
  return `{"event_time":${time},"host":"${host}","ip":"${country}"}`
}

export interface Reference {
  hits: Counts
  late: Counts
  rejected: number
}

/** Counts the log by the documented rules, in one pass, sharing no code with the product. */
export function countLog(log: LoggedRecord[][], allowedLateness: number): Reference {
  const result: Reference = { hits: new Map(), late: new Map(), rejected: 0 }
  for (const partition of log) {
    let newest = -Infinity
    for (const record of partition) {
      const { event, timestamp, removed } = record
      result.rejected += removed
      if (!event || isFuture(record)) {
        result.rejected++
        continue
      }
      const start = event.time - (event.time % WINDOW)
      const late = start + WINDOW + allowedLateness <= newest - DELAY
      countOne(late ? result.late : result.hits, start, event.host, event.country)
      newest = Math.max(newest, Math.min(event.time, timestamp))
    }
  }
  return result
}

/** The basis of a partition's watermark after these records, by the documented rules. */
export function newestEventTime(records: LoggedRecord[]): number {
  let newest = -Infinity
  for (const record of records)
    if (record.event && !isFuture(record))
      newest = Math.max(newest, Math.min(record.event.time, record.timestamp))
  return newest
}

function isFuture({ event, timestamp }: LoggedRecord): boolean {
  return event !== null && event.time > timestamp + MAX_FUTURE
}
