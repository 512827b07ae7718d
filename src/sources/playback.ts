import { setTimeout as sleep } from 'node:timers/promises'
import { parseEventTime } from '../core/event/event-time'
import type { TrafficRecord } from './record'

/** Milliseconds; timers take no more than 2³¹, and a clock that was set meanwhile is looked at again. */
const LONGEST_SLEEP = 60_000

/**
 * The events of a log as live traffic: the first one now, every other as long after it as in the log, divided by
 * `speed`. Each bears the moment of its turn as `event_time`, so that what was out of order in the log is so again, by
 * as much divided by `speed`, and no event is ahead of the clock. A record that is no event with a time is passed on
 * as it is, at once.
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
    await until(due)
    yield { ...record, value: JSON.stringify({ ...event.fields, event_time: new Date(due).toISOString() }) }
  }
}

/** A sleep that nobody waits for any more must not keep the process. */
async function until(due: number): Promise<void> {
  for (let wait = due - Date.now(); wait > 0; wait = due - Date.now())
    await sleep(Math.min(wait, LONGEST_SLEEP), undefined, { ref: false })
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
