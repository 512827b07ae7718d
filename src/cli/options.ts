import { InvalidArgumentError } from 'commander'
import { parseDuration } from '../core/duration'
import { parseEventTime } from '../core/event/event-time'
import type { Site } from '../sources/access-log'

/** Makes an option parser out of a function that returns undefined for invalid text. */
const parser =
  <T>(parse: (text: string) => T | undefined, wanted: string) =>
  (text: string): T => {
    const value = parse(text)
    if (value === undefined) throw new InvalidArgumentError(`Pass ${wanted}.`)
    return value
  }

const numberBetween = (text: string, min: number, max: number): number | undefined => {
  const value = text.trim() === '' ? NaN : Number(text)
  return value >= min && value <= max ? value : undefined
}

const LARGE = 2 ** 31 - 1

export const whole = (min: number, max = LARGE) =>
  parser(
    text => (/^\d+$/.test(text) ? numberBetween(text, min, max) : undefined),
    `a whole number ${max < LARGE ? `from ${min} to ${max}` : `of at least ${min}`}`,
  )

/** A `--limit`. */
export const limit = whole(1, 9_999)

export const port = whole(1, 65_535)

export const factor = parser(text => numberBetween(text, 0.01, 1_000_000), 'a number from 0.01 to 1000000')

export const share = parser(text => numberBetween(text, 0, 1), 'a number from 0 to 1')

/** Milliseconds. */
export const duration = parser(parseDuration, 'a duration such as 500ms, 10s, 5m or 1h')

/** Epoch milliseconds. */
export const time = parser<number>(parseEventTime, 'a time such as 2026-01-31T12:05:00Z')

/** `example.com`, `http://example.com` or `https://example.com`. */
export const site = parser((text): Site | undefined => {
  const [, scheme = 'http', host] = /^(?:(https?):\/\/)?([^\s/"]+)\/?$/.exec(text) ?? []
  return host === undefined ? undefined : { host, scheme: scheme as Site['scheme'] }
}, 'a host name such as www.example.com')

export const webAddress = parser(
  text => (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) ? text : undefined),
  'a URL such as http://localhost:8233',
)
