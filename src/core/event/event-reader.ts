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

/** An event that is counted, by the numbers of {@link EventReader.words}. */
export interface LocatedEvent extends NumberedGroup {
  /** Epoch milliseconds. */
  eventTime: number
}

export interface LocatingRules extends EventRules {
  /** ISO 3166-1 alpha-2 code of an address, `??` where unknown, {@link UNLOCATED} where that is not known yet. */
  locate: (ip: string) => string
  /** Of this process: nothing that is counted depends on it. */
  hashKey: HashKey
}

/** Whole numbers of so many digits are exact. */
const EXACT_DIGITS = 15

/**
 * Reads and locates events from the bytes of their records. The plain ones, which are nearly all, are read in place;
 * what the plain way does not take, and every rejection, is {@link readEvent}'s, with which it always agrees.
 */
export class EventReader {
  readonly words: Interners
  private readonly time: Field
  private readonly host: Field
  private readonly referrer: Field
  private readonly ip: Field
  private readonly scanner = new EventScanner(['event_time', 'host', 'referrer', 'ip'])
  private readonly times = new PlainTimes()
  /** One for all events: nothing is allocated for one that was read in place. */
  private readonly event: LocatedEvent = { eventTime: 0, host: 0, referrer: 0, country: 0 }

  constructor(private readonly rules: LocatingRules) {
    ;[this.time, this.host, this.referrer, this.ip] = this.scanner.fields as [Field, Field, Field, Field]
    this.words = new Interners(
      new StringInterner(normalHost, rules.hashKey),
      new StringInterner(referrer => normalReferrer(referrer, rules.referrer), rules.hashKey),
      new StringInterner(ip => rules.locate(ip.trim()), rules.hashKey, UNLOCATED),
    )
  }

  /**
   * @param value UTF-8 text; null for a tombstone
   * @param timestamp the record's, epoch milliseconds
   * @returns an event that holds until the next is read
   */
  read(value: Uint8Array | null, timestamp: number): LocatedEvent | RejectionReason {
    this.words.makeRoom()
    return value && this.readPlain(value, timestamp) ? this.event : this.readAny(value, timestamp)
  }

  /** Whether the record was plain, and is the event. */
  private readPlain(value: Uint8Array, timestamp: number): boolean {
    if (!this.scanner.scan(value)) return false
    const eventTime = this.eventTime(value)
    if (eventTime === undefined || eventTime > timestamp + this.rules.maxFuture) return false
    if (this.host.kind !== 'text') return false
    const { words, event } = this
    event.eventTime = eventTime
    event.host = words.hosts.read(value, this.host.from, this.host.to)
    const host = words.hosts.text(event.host)
    if (!host || host.length > MAX_HOST_LENGTH) return false
    event.referrer = textOf(words.referrers, value, this.referrer)
    event.country = textOf(words.countries, value, this.ip)
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
    const { words, event } = this
    event.eventTime = read.eventTime
    event.host = words.hosts.number(read.host)
    event.referrer = words.referrers.number(read.referrer)
    event.country = words.countries.number(this.rules.locate(read.ip))
    return event
  }
}

/** What is no text is read as an empty one. */
function textOf(lexicon: StringInterner, bytes: Uint8Array, { kind, from, to }: Field): number {
  return kind === 'text' ? lexicon.read(bytes, from, to) : lexicon.read(bytes, 0, 0)
}
