const QUOTE = 0x22
const PLUS = 0x2b
const COMMA = 0x2c
const MINUS = 0x2d
const DOT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPENING = { object: 0x7b, array: 0x5b }
const CLOSING = { object: 0x7d, array: 0x5d }

/** Deeper values are declined, so that no record can exhaust the stack. */
const MAX_DEPTH = 32

/** Returned when the scanner declines the input. */
const DECLINED = -1

/** Where a field's value is: a string without its quotes, or any other value as written. */
export class Field {
  from = 0
  to = 0
  kind: 'absent' | 'text' | 'other' = 'absent'

  constructor(readonly name: Uint8Array) {}

  note(bytes: Uint8Array, from: number, to: number): void {
    const text = bytes[from] === QUOTE
    this.kind = text ? 'text' : 'other'
    this.from = text ? from + 1 : from
    this.to = text ? to - 1 : to
  }

  /** Whether the member name that starts at this quote is the field's. */
  isNamed(bytes: Uint8Array, quote: number): boolean {
    const { name } = this
    const from = quote + 1
    return bytes[from + name.length] === QUOTE && isAt(bytes, from, name)
  }
}

/**
 * Finds some top-level fields in the UTF-8 bytes of a JSON object without allocating. It checks the whole text by
 * RFC 8259 and declines strings with escapes, which are left to `JSON.parse`. Whatever it accepts, `JSON.parse` reads
 * the same way: the last of several fields with one name wins.
 */
export class EventScanner {
  readonly fields: Field[]

  constructor(names: string[]) {
    this.fields = names.map(name => new Field(encoder.encode(name)))
  }

  /** Returns whether the text was accepted; if so, the fields say where their values are. */
  scan(bytes: Uint8Array): boolean {
    for (const field of this.fields) field.kind = 'absent'
    const opening = skipSpace(bytes, 0)
    if (bytes[opening] !== OPENING.object) return false
    const end = skipItems(bytes, opening, CLOSING.object, 1, this.fields)
    return end !== DECLINED && skipSpace(bytes, end) === bytes.length
  }
}

// Each skip function starts at an index and returns the index after what it skipped, or DECLINED.

/** @param fields those to look for among the members of an object */
function skipItems(
  bytes: Uint8Array,
  opening: number,
  closing: number,
  depth: number,
  fields?: readonly Field[],
): number {
  let at = skipSpace(bytes, opening + 1)
  if (bytes[at] === closing) return at + 1
  for (;;) {
    const value = closing === CLOSING.object ? skipName(bytes, at) : at
    const end = value === DECLINED ? DECLINED : skipValue(bytes, value, depth)
    if (end === DECLINED) return DECLINED
    if (fields) for (const field of fields) if (field.isNamed(bytes, at)) field.note(bytes, value, end)
    at = skipSpace(bytes, end)
    if (bytes[at] === closing) return at + 1
    if (bytes[at] !== COMMA) return DECLINED
    at = skipSpace(bytes, at + 1)
  }
}

/** Skips a member's name and colon, up to its value. */
function skipName(bytes: Uint8Array, from: number): number {
  if (bytes[from] !== QUOTE) return DECLINED
  const end = skipText(bytes, from)
  if (end === DECLINED) return DECLINED
  const colon = skipSpace(bytes, end)
  return bytes[colon] === COLON ? skipSpace(bytes, colon + 1) : DECLINED
}

function skipValue(bytes: Uint8Array, from: number, depth: number): number {
  switch (bytes[from]) {
    case QUOTE:
      return skipText(bytes, from)
    case OPENING.object:
      return depth < MAX_DEPTH ? skipItems(bytes, from, CLOSING.object, depth + 1) : DECLINED
    case OPENING.array:
      return depth < MAX_DEPTH ? skipItems(bytes, from, CLOSING.array, depth + 1) : DECLINED
    case 0x74:
      return skipWord(bytes, from, TRUE)
    case 0x66:
      return skipWord(bytes, from, FALSE)
    case 0x6e:
      return skipWord(bytes, from, NULL)
    default:
      return skipNumber(bytes, from)
  }
}

/** Declines escapes and control characters. */
function skipText(bytes: Uint8Array, opening: number): number {
  const { length } = bytes
  for (let at = opening + 1; at < length; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) return at + 1
    if (byte < 0x20 || byte === BACKSLASH) return DECLINED
  }
  return DECLINED
}

function skipNumber(bytes: Uint8Array, from: number): number {
  let at = bytes[from] === MINUS ? from + 1 : from
  at = bytes[at] === ZERO ? at + 1 : skipDigits(bytes, at)
  if (at !== DECLINED && bytes[at] === DOT) at = skipDigits(bytes, at + 1)
  // e or E
  if (at === DECLINED || (bytes[at]! | 0x20) !== 0x65) return at
  at++
  return skipDigits(bytes, bytes[at] === PLUS || bytes[at] === MINUS ? at + 1 : at)
}

/** Declines if there is no digit. */
function skipDigits(bytes: Uint8Array, from: number): number {
  let at = from
  while (at < bytes.length && bytes[at]! >= ZERO && bytes[at]! <= NINE) at++
  return at > from ? at : DECLINED
}

function skipWord(bytes: Uint8Array, from: number, word: Uint8Array): number {
  return isAt(bytes, from, word) ? from + word.length : DECLINED
}

function isAt(bytes: Uint8Array, from: number, expected: Uint8Array): boolean {
  for (let i = 0; i < expected.length; i++) if (bytes[from + i] !== expected[i]) return false
  return true
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from
  for (;;) {
    const byte = bytes[at]
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at
    at++
  }
}

const encoder = new TextEncoder()
const [TRUE, FALSE, NULL] = ['true', 'false', 'null'].map(word => encoder.encode(word)) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
]
