import { ByteMemo, decodeText } from './byte-memo'
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

export interface LocatedEvent {
  /** Epoch milliseconds. */
  eventTime: number
  host: string
  referrer: string
  country: string
}

export interface LocatingRules extends EventRules {
  /** ISO 3166-1 alpha-2 code of an address, `??` where unknown. */
  locate: (ip: string) => string
}

/** Whole numbers of so many digits are exact. */
const EXACT_DIGITS = 15

/**
 * Reads and locates events from the bytes of their records. The plain ones, which are nearly all, are read in place;
 * what the plain way does not take, and every rejection, is {@link readEvent}'s, with which it always agrees.
 */
export class EventReader {
  private readonly time: Field
  private readonly host: Field
  private readonly referrer: Field
  private readonly ip: Field
  private readonly scanner = new EventScanner(['event_time', 'host', 'referrer', 'ip'])
  private readonly times = new PlainTimes()
  private readonly hosts = new ByteMemo(normalHost)
  private readonly referrers: ByteMemo<string>
  private readonly countries: ByteMemo<string>

  constructor(private readonly rules: LocatingRules) {
    ;[this.time, this.host, this.referrer, this.ip] = this.scanner.fields as [Field, Field, Field, Field]
    this.referrers = new ByteMemo(referrer => normalReferrer(referrer, rules.referrer))
    this.countries = new ByteMemo(ip => rules.locate(ip.trim()))
  }

  /**
   * @param value UTF-8 text; null for a tombstone
   * @param timestamp the record's, epoch milliseconds
   */
  read(value: Uint8Array | null, timestamp: number): LocatedEvent | RejectionReason {
    return (value && this.readPlain(value, timestamp)) ?? this.readAny(value, timestamp)
  }

  private readPlain(value: Uint8Array, timestamp: number): LocatedEvent | undefined {
    if (!this.scanner.scan(value)) return undefined
    const eventTime = this.eventTime(value)
    if (eventTime === undefined || eventTime > timestamp + this.rules.maxFuture) return undefined
    const host = memoised(this.hosts, value, this.host)
    if (!host || host.length > MAX_HOST_LENGTH) return undefined
    const referrer = memoised(this.referrers, value, this.referrer) ?? ''
    const country = memoised(this.countries, value, this.ip) ?? this.rules.locate('')
    return { eventTime, host, referrer, country }
  }

  private eventTime(value: Uint8Array): number | undefined {
    const { kind, from, to } = this.time
    if (kind === 'text') return this.times.read(value, from, to)
    const exact = kind === 'other' && to - from <= EXACT_DIGITS
    return exact ? parseEventTime(wholeNumber(value, from, to)) : undefined
  }

  private readAny(value: Uint8Array | null, timestamp: number): LocatedEvent | RejectionReason {
    const event = readEvent(value && decodeText(value), timestamp, this.rules)
    if (typeof event === 'string') return event
    const { eventTime, host, referrer, ip } = event
    return { eventTime, host, referrer, country: this.rules.locate(ip) }
  }
}

/** Undefined where the field is no text. */
function memoised(memo: ByteMemo<string>, bytes: Uint8Array, { kind, from, to }: Field): string | undefined {
  return kind === 'text' ? memo.get(bytes, from, to) : undefined
}
