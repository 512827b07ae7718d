import { setTimeout as sleep } from 'node:timers/promises'
import { type SyntheticOptions, type SyntheticRecord, SyntheticTraffic } from './synthetic'

export interface Pace {
  /** Events per second on average: delays by a slow broker are made up for. */
  rate: number
  /** Milliseconds; without it the traffic never ends. */
  duration?: number
}

/** Milliseconds between batches. */
const TICK = 50

/** The total number of events. */
export function totalEvents({ rate, duration }: Pace): number {
  return duration === undefined ? Infinity : Math.round((rate * duration) / 1_000)
}

/** Traffic of the present: event times are the current time, minus the disorder. */
export async function* syntheticLive(options: SyntheticOptions, pace: Pace): AsyncGenerator<SyntheticRecord> {
  const traffic = new SyntheticTraffic(options)
  const total = totalEvents(pace)
  const started = performance.now()
  for (let made = 0; made < total; await sleep(TICK)) {
    const due = Math.min(total, Math.floor((pace.rate * (performance.now() - started)) / 1_000))
    for (; made < due; made++) {
      const now = Date.now()
      yield traffic.next(now, now)
    }
  }
}
