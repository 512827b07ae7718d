import { setTimeout as sleep } from 'node:timers/promises'
import type { Source } from '../../sources/source'
import { type History, syntheticHistory, type SyntheticOptions, SyntheticTraffic } from './synthetic'

type Options = Omit<SyntheticOptions, 'partitions'>

const SYNTHETIC = { knows: { malformed: true, late: true }, close: () => undefined }

export function historySource(options: Options, history: History): Source {
  return {
    ...SYNTHETIC,
    records: partitions => syntheticHistory({ ...options, partitions }, history),
    fraction: sent => sent / history.events,
  }
}

export interface Pace {
  /** Events per second on average: delays by a slow broker are made up for. */
  rate: number
  /** Milliseconds; without it the traffic never ends. */
  duration?: number
}

/** Traffic of the present: event times are the current time, minus the disorder. */
export function liveSource(options: Options, { rate, duration }: Pace): Source {
  const total = duration === undefined ? Infinity : Math.round((rate * duration) / 1_000)
  return {
    ...SYNTHETIC,
    records: partitions => syntheticLive({ ...options, partitions }, rate, total),
    ...(duration !== undefined && { fraction: (sent: number) => sent / total }),
  }
}

/** Milliseconds between batches. */
const TICK = 50

async function* syntheticLive(options: SyntheticOptions, rate: number, total: number) {
  const traffic = new SyntheticTraffic(options)
  const started = performance.now()
  for (let made = 0; made < total; await sleep(TICK)) {
    const due = Math.min(total, Math.floor((rate * (performance.now() - started)) / 1_000))
    for (; made < due; made++) {
      const now = Date.now()
      yield traffic.next(now, now)
    }
  }
}
