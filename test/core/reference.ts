import type { LogRecord } from '../../src/core/partition-reader'
import { MINUTE } from './support'

export interface ReferenceCount {
  hits: Record<string, number>
  late: Record<string, number>
  rejected: number
}

/** Counts the logs of all partitions by the rules as written down, sharing nothing with the product. */
export function referenceCount(logs: LogRecord[][], windowSize = 5 * MINUTE, delay = MINUTE): ReferenceCount {
  const result: ReferenceCount = { hits: {}, late: {}, rejected: 0 }
  for (const log of logs) {
    let newest = -Infinity
    for (const { value: bytes, timestamp } of log) {
      const value = bytes?.toString()
      if (!value?.startsWith('{')) {
        result.rejected++
        continue
      }
      const { event_time, host, referrer, ip } = JSON.parse(value) as Record<string, string>
      const time = Date.parse(event_time!)
      const start = time - (time % windowSize)
      const into = start + windowSize <= newest - delay ? result.late : result.hits
      const key = JSON.stringify([start, host, referrer, ip])
      into[key] = (into[key] ?? 0) + 1
      newest = Math.max(newest, Math.min(time, timestamp))
    }
  }
  return result
}
