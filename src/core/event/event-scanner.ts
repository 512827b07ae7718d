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

/** Deeper than this nothing is scanned, so that no record can exhaust the stack. */
const MAX_DEPTH = 32

/** In place of where a text goes on. */
const NOT_TAKEN = -1

/** Where a field's value lies: the text of a string without its quotes, or any other value as it is written. */
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

  /** Whether the name without escapes whose opening quote is here is this one's. */
  isNamed(bytes: Uint8Array, quote: number): boolean {
    const { name } = this
    const from = quote + 1
    return bytes[from + name.length] === QUOTE && isAt(bytes, from, name)
  }
}

/**
 * Finds a few fields in the UTF-8 bytes of a JSON object, and makes nothing of the others. It reads the whole text
 * by RFC 8259 and takes only what is plain in form: no string with an escape. What it does not take may be JSON all
 * the same and is for `JSON.parse`; what it takes, `JSON.parse` reads as it does, the last of several fields of one
 * name included.
 */
export class EventScanner {
  readonly fields: Field[]

  constructor(names: string[]) {
    this.fields = names.map(name => new Field(encoder.encode(name)))
  }

  /** Whether the text was taken; then the fields say where their values are. */
  scan(bytes: Uint8Array): boolean {
    for (const field of this.fields) field.kind = 'absent'
    const opening = skipSpace(bytes, 0)
    if (bytes[opening] !== OPENING.object) return false
    const end = this.scanObject(bytes, opening)
    return end !== NOT_TAKEN && skipSpace(bytes, end) === bytes.length
  }

  private noteField(bytes: Uint8Array, name: number, from: number, to: number): void {
    for (const field of this.fields) if (field.isNamed(bytes, name)) field.note(bytes, from, to)
  }

  /** The outermost object, whose members are noted. */
  private scanObject(bytes: Uint8Array, opening: number): number {
    let at = skipSpace(bytes, opening + 1)
    if (bytes[at] === CLOSING.object) return at + 1
    for (;;) {
      const value = skipName(bytes, at)
      const end = value === NOT_TAKEN ? NOT_TAKEN : skipValue(bytes, value, 1)
      if (end === NOT_TAKEN) return NOT_TAKEN
      this.noteField(bytes, at, value, end)
      at = skipSpace(bytes, end)
      if (bytes[at] === CLOSING.object) return at + 1
      if (bytes[at] !== COMMA) return NOT_TAKEN
      at = skipSpace(bytes, at + 1)
    }
  }
}

// Each of these begins at a place and gives the one behind, or NOT_TAKEN.

function skipItems(bytes: Uint8Array, opening: number, closing: number, depth: number): number {
  let at = skipSpace(bytes, opening + 1)
  if (bytes[at] === closing) return at + 1
  for (;;) {
    const value = closing === CLOSING.object ? skipName(bytes, at) : at
    const end = value === NOT_TAKEN ? NOT_TAKEN : skipValue(bytes, value, depth)
    if (end === NOT_TAKEN) return NOT_TAKEN
    at = skipSpace(bytes, end)
    if (bytes[at] === closing) return at + 1
    if (bytes[at] !== COMMA) return NOT_TAKEN
    at = skipSpace(bytes, at + 1)
  }
}

/** A member's name, to where its value begins. */
function skipName(bytes: Uint8Array, from: number): number {
  if (bytes[from] !== QUOTE) return NOT_TAKEN
  const end = skipText(bytes, from)
  if (end === NOT_TAKEN) return NOT_TAKEN
  const colon = skipSpace(bytes, end)
  return bytes[colon] === COLON ? skipSpace(bytes, colon + 1) : NOT_TAKEN
}

function skipValue(bytes: Uint8Array, from: number, depth: number): number {
  switch (bytes[from]) {
    case QUOTE:
      return skipText(bytes, from)
    case OPENING.object:
      return depth < MAX_DEPTH ? skipItems(bytes, from, CLOSING.object, depth + 1) : NOT_TAKEN
    case OPENING.array:
      return depth < MAX_DEPTH ? skipItems(bytes, from, CLOSING.array, depth + 1) : NOT_TAKEN
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

/** From the opening quote to behind the closing one; there is no escape and no control character between. */
function skipText(bytes: Uint8Array, opening: number): number {
  const { length } = bytes
  for (let at = opening + 1; at < length; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) return at + 1
    if (byte < 0x20 || byte === BACKSLASH) return NOT_TAKEN
  }
  return NOT_TAKEN
}

function skipNumber(bytes: Uint8Array, from: number): number {
  let at = bytes[from] === MINUS ? from + 1 : from
  at = bytes[at] === ZERO ? at + 1 : skipDigits(bytes, at)
  if (at !== NOT_TAKEN && bytes[at] === DOT) at = skipDigits(bytes, at + 1)
  // e or E
  if (at === NOT_TAKEN || (bytes[at]! | 0x20) !== 0x65) return at
  at++
  return skipDigits(bytes, bytes[at] === PLUS || bytes[at] === MINUS ? at + 1 : at)
}

/** At least one. */
function skipDigits(bytes: Uint8Array, from: number): number {
  let at = from
  while (at < bytes.length && bytes[at]! >= ZERO && bytes[at]! <= NINE) at++
  return at > from ? at : NOT_TAKEN
}

function skipWord(bytes: Uint8Array, from: number, word: Uint8Array): number {
  return isAt(bytes, from, word) ? from + word.length : NOT_TAKEN
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
