import { setTimeout as sleep } from 'node:timers/promises'
import { type SyntheticOptions, type SyntheticRecord, SyntheticTraffic } from './synthetic'

export interface Pace {
  /** Events a second, held on average: what a slow broker held up is made up for. */
  rate: number
  /** Milliseconds; without it the traffic does not end by itself. */
  duration?: number
}

/** Milliseconds between two small batches. */
const TICK = 50

/** How many events a pace makes in all. */
export function eventsInAll({ rate, duration }: Pace): number {
  return duration === undefined ? Infinity : Math.round((rate * duration) / 1_000)
}

/** Traffic that happens now: event times are the wall clock's, minus the jitter. */
export async function* syntheticLive(options: SyntheticOptions, pace: Pace): AsyncGenerator<SyntheticRecord> {
  const traffic = new SyntheticTraffic(options)
  const total = eventsInAll(pace)
  const started = performance.now()
  for (let made = 0; made < total; await sleep(TICK)) {
    const due = Math.min(total, Math.floor((pace.rate * (performance.now() - started)) / 1_000))
    for (; made < due; made++) {
      const now = Date.now()
      yield traffic.next(now, now)
    }
  }
}
