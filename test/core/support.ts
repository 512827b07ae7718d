import type { HashKey } from '../../src/core/counts/half-sip-hash'
import { NumberWriter } from '../../src/core/counts/row-text'
import type { LogRecord } from '../../src/core/event/log-record'
import type { ReaderRules } from '../../src/core/window/partition-reader'

export const MINUTE = 60_000
export const T0 = Date.UTC(2026, 0, 1, 12)

/** Fixed, so that tests are repeatable. */
export const hashKey: HashKey = [0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c]

export const rules: ReaderRules = {
  hashKey,
  windowSize: 5 * MINUTE,
  watermarkDelay: MINUTE,
  allowedLateness: 0,
  maxGroups: 250_000,
  maxFuture: MINUTE,
  referrer: 'full',
  locate: ip => (ip === '' ? '??' : ip.slice(0, 2)),
}

export interface TestEvent {
  host?: string
  referrer?: string
  ip?: string
  /** Epoch ms. */
  at: number
}

/** A record with a timestamp long after the event, as when history is loaded. */
export function record(
  offset: number,
  { at, host = 'a.example', referrer = '', ip = 'DE' }: TestEvent,
): LogRecord {
  const value = Buffer.from(JSON.stringify({ event_time: new Date(at).toISOString(), host, referrer, ip }))
  return { offset, timestamp: T0 + 24 * 60 * MINUTE, value }
}

export function rowsOf(numbers: number[]): string {
  const writer = new NumberWriter()
  for (const number of numbers) writer.write(number)
  return writer.toString()
}
