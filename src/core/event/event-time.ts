const ISO =
  /^(\d{4})-(\d{2})-(\d{2})([Tt ])(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?([Zz]|[+-]\d{2}(?::?\d{2})?)?$/

/** Smaller numbers are seconds, others milliseconds (10¹¹ s is in the year 5138). */
const FIRST_MILLISECONDS = 1e11

/**
 * Windows are named by four-digit years, which is all that a Datetime in Temporal accepts (RFC 3339); one year is left for
 * the end of the last window. Microseconds mistaken for milliseconds are far beyond.
 */
const LAST_INSTANT = Date.UTC(9999, 0) - 1

/**
 * Epoch milliseconds of an `event_time`: ISO 8601 with an offset or `Z`, `YYYY-MM-DD HH:MM:SS[.fff]` (UTC),
 * or a number of seconds or milliseconds. Undefined for anything else, and for times before 1970 or after 9998.
 */
export function parseEventTime(value: unknown): number | undefined {
  const time =
    typeof value === 'number' ? fromNumber(value) : typeof value === 'string' ? fromText(value) : NaN
  return within(time)
}

function within(time: number): number | undefined {
  return time >= 0 && time <= LAST_INSTANT ? time : undefined
}

function fromNumber(value: number): number {
  return Math.floor(value < FIRST_MILLISECONDS ? value * 1_000 : value)
}

function fromText(text: string): number {
  const match = ISO.exec(text.trim())
  if (!match) return NaN
  const [, year, month, day, separator, hour, minute, second = '0', fraction = '', offset] = match
  // Without an offset, only the form that is defined to be UTC is accepted.
  if (offset === undefined && (separator !== ' ' || match[7] === undefined)) return NaN
  const [y, mo, d, h, mi, s] = [year, month, day, hour, minute, second].map(Number) as SixNumbers
  return instant(y, mo, d, h, mi, s, Number(fraction.padEnd(3, '0').slice(0, 3))) - offsetMilliseconds(offset)
}

/** Epoch milliseconds; NaN if the calendar or the clock has no such moment. */
function instant(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
  milliseconds: number,
): number {
  if (hour > 23 || minute > 59 || second > 59) return NaN
  const time = Date.UTC(year, month - 1, day, hour, minute, second, milliseconds)
  const calendar = new Date(time)
  // Compares the year too, since Date.UTC reads 75 as 1975.
  const exists =
    calendar.getUTCFullYear() === year &&
    calendar.getUTCMonth() === month - 1 &&
    calendar.getUTCDate() === day
  return exists ? time : NaN
}

type SixNumbers = [number, number, number, number, number, number]

function offsetMilliseconds(offset: string | undefined): number {
  if (offset === undefined || offset === 'Z' || offset === 'z') return 0
  const hours = Number(offset.slice(1, 3))
  const minutes = Number(offset.slice(3).replace(':', '') || '0')
  if (hours > 23 || minutes > 59) return NaN
  return (offset.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000
}

const LENGTHS = { seconds: 20, milliseconds: 24 }
/** Positions of `-`, `-`, `T`, `:` and `:`. */
const MARKS = [
  [4, 0x2d],
  [7, 0x2d],
  [10, 0x54],
  [13, 0x3a],
  [16, 0x3a],
] as const

/** Reads the most common form, `YYYY-MM-DDTHH:MM:SS[.fff]Z`, from its bytes. Remembers the last date. */
export class PlainTimes {
  private date = NaN
  private midnight = NaN

  /** Like {@link parseEventTime}, but undefined for any other form. */
  read(bytes: Uint8Array, from: number, to: number): number | undefined {
    const length = to - from
    if (length === LENGTHS.milliseconds) {
      if (bytes[from + 19] !== 0x2e) return undefined
    } else if (length !== LENGTHS.seconds) return undefined
    // Z
    if (bytes[to - 1] !== 0x5a) return undefined
    for (const [position, mark] of MARKS) if (bytes[from + position] !== mark) return undefined
    const year = wholeNumber(bytes, from, from + 4)
    const month = wholeNumber(bytes, from + 5, from + 7)
    const day = wholeNumber(bytes, from + 8, from + 10)
    const hour = wholeNumber(bytes, from + 11, from + 13)
    const minute = wholeNumber(bytes, from + 14, from + 16)
    const second = wholeNumber(bytes, from + 17, from + 19)
    const milliseconds = length === LENGTHS.milliseconds ? wholeNumber(bytes, from + 20, from + 23) : 0
    if (!(hour < 24 && minute < 60 && second < 60)) return undefined
    const date = (year * 100 + month) * 100 + day
    if (date !== this.date) {
      this.date = date
      this.midnight = instant(year, month, day, 0, 0, 0, 0)
    }
    const time = this.midnight + ((hour * 60 + minute) * 60 + second) * 1_000 + milliseconds
    return within(time)
  }
}

/** The number written at `[from, to)`; NaN if there is anything but digits. */
export function wholeNumber(bytes: Uint8Array, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) {
    const digit = bytes[i]! - 0x30
    if (digit < 0 || digit > 9) return NaN
    value = value * 10 + digit
  }
  return value
}
