import { setTimeout as sleep } from 'node:timers/promises'
import { parseEventTime } from '../core/event/event-time'
import type { TrafficRecord } from './record'

/** Milliseconds. Timers take at most 2³¹, and the system clock may be set meanwhile. */
const MAX_SLEEP = 60_000

/**
 * Replays the events of a log as live traffic: the first one now, each of the others as long after it as in the log,
 * divided by `speed`. Each event gets the time of its turn as `event_time`, so events that were out of order in the log
 * still are, and none is ahead of the clock. A record without a usable time is passed on at once, unchanged.
 *
 * @param speed how many times as fast as the log, above 0
 */
export async function* playback(
  records: AsyncIterable<TrafficRecord>,
  speed: number,
): AsyncGenerator<TrafficRecord> {
  let beginning: { log: number; clock: number } | undefined
  for await (const record of records) {
    const event = timedEvent(record.value)
    if (event === undefined) {
      yield record
      continue
    }
    beginning ??= { log: event.time, clock: Date.now() }
    const due = Math.max(0, beginning.clock + Math.round((event.time - beginning.log) / speed))
    await sleepUntil(due)
    yield { ...record, value: JSON.stringify({ ...event.fields, event_time: new Date(due).toISOString() }) }
  }
}

/** An abandoned sleep does not keep the process alive. */
async function sleepUntil(due: number): Promise<void> {
  for (let wait = due - Date.now(); wait > 0; wait = due - Date.now())
    await sleep(Math.min(wait, MAX_SLEEP), undefined, { ref: false })
}

function timedEvent(value: TrafficRecord['value']): { fields: object; time: number } | undefined {
  if (value === null) return undefined
  try {
    const fields: unknown = JSON.parse(value.toString())
    if (typeof fields !== 'object' || fields === null || !('event_time' in fields)) return undefined
    const time = parseEventTime(fields.event_time)
    return time === undefined ? undefined : { fields, time }
  } catch {
    return undefined
  }
}
