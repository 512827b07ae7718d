import { InvalidArgumentError } from 'commander'
import { parseDuration } from '../core/duration'
import { parseEventTime } from '../core/event/event-time'
import type { Site } from '../sources/access-log'

export const whole = (least: number) => (text: string) => {
  const value = Number(text)
  if (Number.isInteger(value) && value >= least && value <= 2 ** 31 - 1) return value
  throw new InvalidArgumentError(`It must be a whole number from ${least}.`)
}

export function duration(text: string): number {
  const value = parseDuration(text)
  if (value !== undefined) return value
  throw new InvalidArgumentError('It must be a duration such as 500ms, 10s, 5m or 1h.')
}

export function factor(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0.01 && value <= 1_000_000) return value
  throw new InvalidArgumentError('It must be a number from 0.01 to 1000000.')
}

export function share(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && value <= 1) return value
  throw new InvalidArgumentError('It must be a number from 0 to 1.')
}

export function instant(text: string): number {
  const value = parseEventTime(text)
  if (value !== undefined) return value
  throw new InvalidArgumentError('It must be a time such as 2026-01-31T12:00:00Z.')
}

/** `example.com`, `http://example.com` or `https://example.com`. */
export function site(text: string): Site {
  const [, scheme = 'http', host] = /^(?:(https?):\/\/)?([^\s/"]+)\/?$/.exec(text) ?? []
  if (host !== undefined) return { host, scheme: scheme as Site['scheme'] }
  throw new InvalidArgumentError('It must be a host name such as www.example.com.')
}

export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text))
    throw new InvalidArgumentError('It must be a whole number from 1 to 9999.')
  return Number(text)
}

/** A time as an option's value, epoch milliseconds. */
export function timeOption(text: string): number {
  const at = parseEventTime(text)
  if (at === undefined) throw new InvalidArgumentError('It is not a time such as 2026-01-31T12:05:00Z.')
  return at
}
