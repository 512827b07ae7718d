// Captured: a workflow looks up a global through the sandbox, every time anew.
const { fromCharCode } = String

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const CODES = Uint8Array.from(ALPHABET, digit => digit.charCodeAt(0))
/** The digit of a character code; {@link NONE} where it is none. */
const NONE = 64
const DIGITS = new Uint8Array(128).fill(NONE)
CODES.forEach((code, digit) => (DIGITS[code] = digit))

/** Characters that are made into a string at once: as many as a call can have arguments, by far. */
const CHUNK = 8_192

/**
 * Whole numbers from 0 to 2⁵³ − 1 as text: base64 digits of five bits each, the lowest first, with the sixth bit set in
 * all but the last of a number. (The VLQ of source maps, ECMA-426, without its bit for the sign.) Half the bytes of a
 * JSON array, and JSON takes it as it is.
 */
export class NumberWriter {
  private readonly chunk = new Uint8Array(CHUNK)
  private length = 0
  private text = ''

  write(number: number): void {
    if (this.length > CHUNK - 11) this.flush()
    let rest = number
    // Bitwise operators are of 32 bits; few numbers need more.
    while (rest >= 0x4000_0000) {
      this.chunk[this.length++] = CODES[32 + (rest % 32)]!
      rest = (rest - (rest % 32)) / 32
    }
    while (rest >= 32) {
      this.chunk[this.length++] = CODES[32 | (rest & 31)]!
      rest >>>= 5
    }
    this.chunk[this.length++] = CODES[rest]!
  }

  private flush(): void {
    // eslint-disable-next-line prefer-spread -- a spread goes through an iterator, one character at a time
    this.text += fromCharCode.apply(null, this.chunk.subarray(0, this.length) as unknown as number[])
    this.length = 0
  }

  toString(): string {
    this.flush()
    return this.text
  }
}

/** Reads what a {@link NumberWriter} wrote. */
export class NumberReader {
  private at = 0

  constructor(private readonly text: string) {}

  get done(): boolean {
    return this.at >= this.text.length
  }

  /** @throws RangeError where the text has no further number */
  next(): number {
    let number = 0
    let scale = 1
    for (;;) {
      const digit = DIGITS[this.text.charCodeAt(this.at++)] ?? NONE
      if (digit < 32) return number + digit * scale
      if (digit === NONE) throw new RangeError('The text does not go on with a number.')
      number += (digit - 32) * scale
      scale *= 32
    }
  }
}

/** How many numbers a text has. */
export function countNumbers(text: string): number {
  let numbers = 0
  for (let at = 0; at < text.length; at++) if (DIGITS[text.charCodeAt(at)]! < 32) numbers++
  return numbers
}
