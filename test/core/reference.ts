import type { LogRecord } from '../../src/core/event/log-record'
import { MINUTE } from './support'

export interface ReferenceCount {
  hits: Record<string, number>
  late: Record<string, number>
  rejected: number
  /** Late and rejected records, by start of the partition's current window. */
  exceptions: Record<number, number>
}

/** Counts the logs by the documented rules, sharing no code with the product. */
export function referenceCount(logs: LogRecord[][], windowSize = 5 * MINUTE, delay = MINUTE): ReferenceCount {
  const result: ReferenceCount = { hits: {}, late: {}, rejected: 0, exceptions: {} }
  for (const log of logs) {
    let newest = -Infinity
    for (const { value: bytes, timestamp } of log) {
      const seen = newest === -Infinity ? 0 : newest
      const current = Math.floor(seen / windowSize) * windowSize
      const except = () => (result.exceptions[current] = (result.exceptions[current] ?? 0) + 1)
      const value = bytes?.toString()
      if (!value?.startsWith('{')) {
        result.rejected++
        except()
        continue
      }
      const { event_time, host, referrer, ip } = JSON.parse(value) as Record<string, string>
      const time = Date.parse(event_time!)
      const start = time - (time % windowSize)
      const isLate = start + windowSize <= newest - delay
      const into = isLate ? result.late : result.hits
      if (isLate) except()
      const key = JSON.stringify([start, host, referrer, ip])
      into[key] = (into[key] ?? 0) + 1
      newest = Math.max(newest, Math.min(time, timestamp))
    }
  }
  return result
}
