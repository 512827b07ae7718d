const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const MINUS = 0x2d
const DOT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const OPENING = { object: 0x7b, array: 0x5b }
const CLOSING = { object: 0x7d, array: 0x5d }

/** Deeper than this nothing is scanned, so that no record can exhaust the stack. */
const MAX_DEPTH = 32

/** Where a field's value lies: the text of a string without its quotes, or any other value as it is written. */
export class Field {
  from = 0
  to = 0
  kind: 'absent' | 'text' | 'other' = 'absent'

  constructor(readonly name: Uint8Array) {}
}

/**
 * Finds a few fields in the UTF-8 bytes of a JSON object, and makes nothing of the others. It reads the whole text
 * by RFC 8259 and takes only what is plain in form: no string with an escape. What it does not take may be JSON all
 * the same and is for `JSON.parse`; what it takes, `JSON.parse` reads as it does, the last of several fields of one
 * name included.
 */
export class EventScanner {
  readonly fields: Field[]
  private bytes: Uint8Array = new Uint8Array()
  private at = 0

  constructor(names: string[]) {
    const encoder = new TextEncoder()
    this.fields = names.map(name => new Field(encoder.encode(name)))
  }

  /** Whether the text was taken; then the fields say where their values are. */
  scan(bytes: Uint8Array): boolean {
    this.bytes = bytes
    this.at = 0
    for (const field of this.fields) field.kind = 'absent'
    this.skipSpace()
    if (bytes[this.at] !== OPENING.object || !this.skipItems(CLOSING.object, 1)) return false
    this.skipSpace()
    return this.at === bytes.length
  }

  private skipSpace(): void {
    const { bytes } = this
    for (;;) {
      const byte = bytes[this.at]
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return
      this.at++
    }
  }

  /** From the opening brace or bracket to behind the closing one. */
  private skipItems(closing: number, depth: number): boolean {
    const { bytes } = this
    this.at++
    this.skipSpace()
    if (bytes[this.at] === closing) {
      this.at++
      return true
    }
    for (;;) {
      const skipped = closing === CLOSING.object ? this.skipMember(depth) : this.skipValue(depth)
      if (!skipped) return false
      this.skipSpace()
      const next = bytes[this.at++]
      if (next === closing) return true
      if (next !== COMMA) return false
      this.skipSpace()
    }
  }

  /** A name and its value; at depth 1 the fields are noted. */
  private skipMember(depth: number): boolean {
    const { bytes } = this
    const name = this.at + 1
    if (bytes[this.at] !== QUOTE || !this.skipText()) return false
    const field = depth === 1 ? this.fieldNamed(name, this.at - 1) : undefined
    this.skipSpace()
    if (bytes[this.at] !== COLON) return false
    this.at++
    this.skipSpace()
    const from = this.at
    if (!this.skipValue(depth)) return false
    if (field) this.note(field, from)
    return true
  }

  private note(field: Field, from: number): void {
    const text = this.bytes[from] === QUOTE
    field.kind = text ? 'text' : 'other'
    field.from = text ? from + 1 : from
    field.to = text ? this.at - 1 : this.at
  }

  private fieldNamed(from: number, to: number): Field | undefined {
    for (const field of this.fields)
      if (field.name.length === to - from && this.isAt(from, field.name)) return field
    return undefined
  }

  private isAt(from: number, expected: Uint8Array): boolean {
    for (let i = 0; i < expected.length; i++) if (this.bytes[from + i] !== expected[i]) return false
    return true
  }

  private skipValue(depth: number): boolean {
    switch (this.bytes[this.at]) {
      case QUOTE:
        return this.skipText()
      case OPENING.object:
        return depth < MAX_DEPTH && this.skipItems(CLOSING.object, depth + 1)
      case OPENING.array:
        return depth < MAX_DEPTH && this.skipItems(CLOSING.array, depth + 1)
      case 0x74:
        return this.skipWord(TRUE)
      case 0x66:
        return this.skipWord(FALSE)
      case 0x6e:
        return this.skipWord(NULL)
      default:
        return this.skipNumber()
    }
  }

  /** From the opening quote to behind the closing one; there is no escape and no control character between. */
  private skipText(): boolean {
    const { bytes } = this
    const { length } = bytes
    for (let at = this.at + 1; at < length; at++) {
      const byte = bytes[at]!
      if (byte === QUOTE) {
        this.at = at + 1
        return true
      }
      if (byte < 0x20 || byte === BACKSLASH) return false
    }
    return false
  }

  private skipWord(word: Uint8Array): boolean {
    const from = this.at
    this.at += word.length
    return this.isAt(from, word)
  }

  private skipNumber(): boolean {
    const { bytes } = this
    if (bytes[this.at] === MINUS) this.at++
    if (bytes[this.at] === ZERO) this.at++
    else if (!this.skipDigits()) return false
    if (bytes[this.at] === DOT) {
      this.at++
      if (!this.skipDigits()) return false
    }
    // e or E
    if ((bytes[this.at]! | 0x20) === 0x65) {
      this.at++
      // + or -
      if (bytes[this.at] === 0x2b || bytes[this.at] === MINUS) this.at++
      if (!this.skipDigits()) return false
    }
    return true
  }

  /** At least one. */
  private skipDigits(): boolean {
    const from = this.at
    for (let byte = this.bytes[from]!; byte >= ZERO && byte <= NINE; byte = this.bytes[++this.at]!);
    return this.at > from
  }
}

const encoder = new TextEncoder()
const [TRUE, FALSE, NULL] = ['true', 'false', 'null'].map(word => encoder.encode(word)) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
]
