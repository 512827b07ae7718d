import type { Visit } from './population'
import type { Random } from './random'

/** Milliseconds that a future event is ahead of the clock: one hour, as from a wrong time zone. */
const FUTURE = 60 * 60_000
/** A host name has at most 255 characters (RFC 1035, 2.3.4). */
const LONG_HOST = `${'sub.'.repeat(64)}example`

const UNPARSABLE_TIMES = ['"yesterday"', '"2026-13-45T99:00:00Z"', '""', 'true', '{"seconds":1}']
const NO_OBJECTS = ['[1,2,3]', '"an event"', '42', 'null']

interface Moment {
  visit: Visit
  /** Epoch milliseconds of the event. */
  eventTime: number
  /** The wall clock, epoch milliseconds. */
  now: number
}

/** Makes an invalid record value of each kind. Null is a Kafka record without a value. */
export const MALFORMED_KINDS: Record<string, (moment: Moment, random: Random) => string | null> = {
  brokenJson: ({ visit, eventTime }, random) => {
    const whole = eventText(visit, eventTime)
    return whole.slice(0, 1 + random.below(whole.length - 1))
  },
  noObject: (_, random) => random.pick(NO_OBJECTS),
  nullValue: () => null,
  missingEventTime: ({ visit }) => `{${fields(visit)}}`,
  unparsableEventTime: ({ visit }, random) =>
    `{${fields(visit)},"event_time":${random.pick(UNPARSABLE_TIMES)}}`,
  futureEventTime: ({ visit, now }) => eventText(visit, now + FUTURE),
  // An event without a host gets the host of its URL, so the URL must be relative.
  missingHost: ({ visit, eventTime }) =>
    eventText({ ...visit, host: '""', url: `"/${visit.url.split('/').slice(3).join('/')}` }, eventTime),
  hostTooLong: ({ visit, eventTime }) => eventText({ ...visit, host: `"${LONG_HOST}"` }, eventTime),
}

const KINDS = Object.values(MALFORMED_KINDS)

/** An invalid record value; all kinds are equally likely. */
export function malformedValue(moment: Moment, random: Random): string | null {
  return random.pick(KINDS)(moment, random)
}

/** The JSON text of an event. */
export function eventText(visit: Visit, eventTime: number): string {
  return `{${fields(visit)},"event_time":"${new Date(eventTime).toISOString()}"}`
}

function fields({ url, referrer, userAgent, host, ip, headers }: Visit): string {
  return `"url":${url},"referrer":${referrer},"user_agent":${userAgent},"host":${host},"ip":${ip},"headers":${headers}`
}
