import { parseEventTime } from './event-time'

export const MAX_HOST_LENGTH = 255
export const MAX_REFERRER_LENGTH = 2_048

/** Why a record is not a usable event; `rejected_counts` has the number of records for each reason. */
export type RejectionReason =
  | 'null_value'
  | 'invalid_json'
  | 'not_an_object'
  | 'missing_event_time'
  | 'invalid_event_time'
  | 'future_event_time'
  | 'missing_host'
  | 'host_too_long'

/** Why Kafka no longer had a record when it was to be read. It counts as rejected. */
export const MISSING_REASONS = ['lost_to_retention', 'removed_by_compaction'] as const
export type MissingReason = (typeof MISSING_REASONS)[number]

export interface WebEvent {
  /** Epoch milliseconds. */
  eventTime: number
  host: string
  referrer: string
  /** As received; only the country lookup sees it. */
  ip: string
}

export interface EventRules {
  maxFuture: number
  referrer: 'full' | 'origin'
}

/**
 * Parses one record's value, a JSON object or null, and makes every check that does not depend on its position in the log.
 *
 * @param recordTimestamp the record's Kafka timestamp, epoch ms. Future events are judged by it, not by the reader's
 *   clock, so that a second reading gives the same result.
 */
export function readEvent(
  value: string | null,
  recordTimestamp: number,
  rules: EventRules,
): WebEvent | RejectionReason {
  if (value === null) return 'null_value'
  let parsed: unknown
  try {
    parsed = JSON.parse(value)
  } catch {
    return 'invalid_json'
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return 'not_an_object'
  const fields = parsed as Record<string, unknown>
  if (fields.event_time === undefined || fields.event_time === null) return 'missing_event_time'
  const eventTime = parseEventTime(fields.event_time)
  if (eventTime === undefined) return 'invalid_event_time'
  if (eventTime > recordTimestamp + rules.maxFuture) return 'future_event_time'
  const host = hostOf(fields)
  if (host === '') return 'missing_host'
  if (host.length > MAX_HOST_LENGTH) return 'host_too_long'
  return {
    eventTime,
    host,
    referrer: normalReferrer(fields.referrer, rules.referrer),
    ip: typeof fields.ip === 'string' ? fields.ip.trim() : '',
  }
}

function hostOf({ host, url }: Record<string, unknown>): string {
  return (typeof host === 'string' && normalHost(host)) || normalHost(hostOfUrl(url))
}

/** The form in which a host is counted; empty if there is none. */
export function normalHost(host: string): string {
  return storable(withoutPort(host.trim()).toLowerCase())
}

function withoutPort(host: string): string {
  if (!host.includes(':')) return host
  const bracketed = /^(\[[^\]]*\])(?::\d*)?$/.exec(host)
  if (bracketed) return bracketed[1]!
  // With more than one colon it is an IPv6 address without brackets, which has no port.
  return host.indexOf(':') === host.lastIndexOf(':') ? host.replace(/:\d*$/, '') : host
}

function hostOfUrl(url: unknown): string {
  if (typeof url !== 'string') return ''
  try {
    return new URL(url).hostname
  } catch {
    return ''
  }
}

/** The form in which a referrer is counted; empty if there is none. */
export function normalReferrer(value: unknown, grouping: EventRules['referrer']): string {
  if (typeof value !== 'string' || value === '-') return ''
  const referrer = grouping === 'origin' ? originOf(value) : value
  return storable(referrer.slice(0, MAX_REFERRER_LENGTH))
}

function originOf(referrer: string): string {
  try {
    const { origin, protocol, host } = new URL(referrer)
    return origin === 'null' ? `${protocol}//${host}` : origin
  } catch {
    return referrer
  }
}

/** Replaces U+0000 and lone surrogates, which Postgres cannot store, before they could form groups of their own. */
function storable(text: string): string {
  return (text.includes('\0') ? text.replaceAll('\0', '\uFFFD') : text).toWellFormed()
}
