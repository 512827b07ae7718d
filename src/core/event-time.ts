const ISO =
  /^(\d{4})-(\d{2})-(\d{2})([Tt ])(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?([Zz]|[+-]\d{2}(?::?\d{2})?)?$/

/** Below this a number counts seconds, from it on milliseconds (10¹¹ s lie in the year 5138). */
const FIRST_MILLISECONDS = 1e11

/** The last instant a JavaScript Date can hold (ECMA-262, 21.4.1.1). */
const LAST_INSTANT = 8.64e15

/**
 * Epoch milliseconds of an `event_time`: ISO 8601 with an offset or `Z`, `YYYY-MM-DD HH:MM:SS[.fff]` (UTC),
 * or a number of seconds or milliseconds. Undefined for anything else, and for times before 1970.
 */
export function parseEventTime(value: unknown): number | undefined {
  const time =
    typeof value === 'number' ? fromNumber(value) : typeof value === 'string' ? fromText(value) : NaN
  return time >= 0 && time <= LAST_INSTANT ? time : undefined
}

function fromNumber(value: number): number {
  return Math.floor(value < FIRST_MILLISECONDS ? value * 1_000 : value)
}

function fromText(text: string): number {
  return isPlain(text) ? fromPlain(text) : fromPattern(text.trim())
}

/** Whether a text is cut like `YYYY-MM-DDTHH:MM:SSZ` or `YYYY-MM-DDTHH:MM:SS.fffZ`. */
function isPlain(text: string): boolean {
  const { length } = text
  return (
    (length === 20 || (length === 24 && text[19] === '.')) &&
    text[4] === '-' &&
    text[7] === '-' &&
    text[10] === 'T' &&
    text[13] === ':' &&
    text[16] === ':' &&
    text[length - 1] === 'Z'
  )
}

/** Nearly every event has it so, and the pattern would take as long as parsing the rest of the record. */
function fromPlain(text: string): number {
  const milliseconds = text.length === 24 ? digits(text, 20, 23) : 0
  return instant(
    digits(text, 0, 4),
    digits(text, 5, 7),
    digits(text, 8, 10),
    digits(text, 11, 13),
    digits(text, 14, 16),
    digits(text, 17, 19),
    milliseconds,
  )
}

function digits(text: string, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return NaN
    value = value * 10 + digit
  }
  return value
}

function fromPattern(text: string): number {
  const match = ISO.exec(text)
  if (!match) return NaN
  const [, year, month, day, separator, hour, minute, second = '0', fraction = '', offset] = match
  // Local time without an offset is only accepted in the form that is defined to be UTC.
  if (offset === undefined && (separator !== ' ' || match[7] === undefined)) return NaN
  const [y, mo, d, h, mi, s] = [year, month, day, hour, minute, second].map(Number) as SixNumbers
  return instant(y, mo, d, h, mi, s, Number(fraction.padEnd(3, '0').slice(0, 3))) - offsetMilliseconds(offset)
}

/** NaN where the calendar or the clock has no such moment. */
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
  // The year too: Date.UTC takes 75 for 1975.
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
