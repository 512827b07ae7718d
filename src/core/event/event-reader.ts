import { decodeText } from '../counts/byte-cache'
import type { NumberedGroup } from '../counts/columnar'
import {
  MAX_HOST_LENGTH,
  normalHost,
  normalReferrer,
  readEvent,
  type EventRules,
  type RejectionReason,
} from './event'
import { parseEventTime, PlainTimes, wholeNumber } from './event-time'
import { EventScanner, type Field } from './event-scanner'
import type { HashKey } from '../counts/half-sip-hash'
import { UNLOCATED } from '../counts/unknown-country'
import { StringInterner, Interners } from '../counts/string-interning'

/** An event to count; its texts are numbers of {@link EventReader.interners}. */
export interface LocatedEvent extends NumberedGroup {
  /** Epoch milliseconds. */
  eventTime: number
}

export interface LocatingRules extends EventRules {
  /** ISO 3166-1 alpha-2 code of an address, `??` if unknown, {@link UNLOCATED} if the lookup failed. */
  locate: (ip: string) => string
  /** Random per process; no count depends on it. */
  hashKey: HashKey
}

/** Integers of up to this many digits are exact as a double. */
const EXACT_DIGITS = 15

/**
 * Reads events from the bytes of their records and looks up their countries. Nearly all records are plain and are read
 * in place; the others, and every rejection, go through {@link readEvent}. Both ways give the same result.
 */
export class EventReader {
  readonly interners: Interners
  private readonly time: Field
  private readonly host: Field
  private readonly referrer: Field
  private readonly ip: Field
  private readonly scanner = new EventScanner(['event_time', 'host', 'referrer', 'ip'])
  private readonly times = new PlainTimes()
  /** Reused, so that reading in place allocates nothing. */
  private readonly event: LocatedEvent = { eventTime: 0, host: 0, referrer: 0, country: 0 }

  constructor(private readonly rules: LocatingRules) {
    ;[this.time, this.host, this.referrer, this.ip] = this.scanner.fields as [Field, Field, Field, Field]
    this.interners = new Interners(
      new StringInterner(normalHost, rules.hashKey),
      new StringInterner(referrer => normalReferrer(referrer, rules.referrer), rules.hashKey),
      new StringInterner(ip => rules.locate(ip.trim()), rules.hashKey, UNLOCATED),
    )
  }

  /**
   * @param value UTF-8 text; null for a tombstone
   * @param timestamp of the record, epoch milliseconds
   * @returns an event that is valid until the next call
   */
  read(value: Uint8Array | null, timestamp: number): LocatedEvent | RejectionReason {
    this.interners.makeRoom()
    return value && this.readPlain(value, timestamp) ? this.event : this.readAny(value, timestamp)
  }

  /** Returns whether the record was plain; if so, `this.event` is filled. */
  private readPlain(value: Uint8Array, timestamp: number): boolean {
    if (!this.scanner.scan(value)) return false
    const eventTime = this.eventTime(value)
    if (eventTime === undefined || eventTime > timestamp + this.rules.maxFuture) return false
    if (this.host.kind !== 'text') return false
    const { interners, event } = this
    event.eventTime = eventTime
    event.host = interners.hosts.read(value, this.host.from, this.host.to)
    const host = interners.hosts.text(event.host)
    if (!host || host.length > MAX_HOST_LENGTH) return false
    event.referrer = textOf(interners.referrers, value, this.referrer)
    event.country = textOf(interners.countries, value, this.ip)
    return true
  }

  private eventTime(value: Uint8Array): number | undefined {
    const { kind, from, to } = this.time
    if (kind === 'text') return this.times.read(value, from, to)
    const exact = kind === 'other' && to - from <= EXACT_DIGITS
    return exact ? parseEventTime(wholeNumber(value, from, to)) : undefined
  }

  private readAny(value: Uint8Array | null, timestamp: number): LocatedEvent | RejectionReason {
    const read = readEvent(value && decodeText(value), timestamp, this.rules)
    if (typeof read === 'string') return read
    const { interners, event } = this
    event.eventTime = read.eventTime
    event.host = interners.hosts.number(read.host)
    event.referrer = interners.referrers.number(read.referrer)
    event.country = interners.countries.number(this.rules.locate(read.ip))
    return event
  }
}

/** A value that is not a string counts as the empty string. */
function textOf(interner: StringInterner, bytes: Uint8Array, { kind, from, to }: Field): number {
  return kind === 'text' ? interner.read(bytes, from, to) : interner.read(bytes, 0, 0)
}
