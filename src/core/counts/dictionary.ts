import type { StringInterner } from './string-interning'

/** An index that no text has. */
export const ABSENT = -1

/** Numbers below this are looked up in an array as long as the highest of them. */
const LOW_NUMBERS = 4_096

/** The distinct texts of one column, in the order in which they came, and the bytes that they take as JSON. */
export class Dictionary {
  private readonly indexes = new Map<string, number>()
  private readonly texts: string[] = []
  /** Of texts whose hash was asked for. */
  private readonly hashes: number[] = []
  /** Index plus one of the text that a lexicon knows by this number, 0 where it is not known yet. */
  private numbered = new Int32Array(16)
  /** The same of high numbers, which texts have that came late and are rare: there may be many dictionaries. */
  private readonly rare = new Map<number, number>()
  bytes = 0

  /** The text's index; {@link ABSENT} where it has none. */
  numberOf(text: string): number {
    return this.indexes.get(text) ?? ABSENT
  }

  /** The text's index, given to it now where it has none. */
  index(text: string): number {
    let index = this.indexes.get(text)
    if (index === undefined) {
      index = this.texts.push(text) - 1
      this.indexes.set(text, index)
      this.bytes += jsonBytes(text)
    }
    return index
  }

  /** The index of the text with this number; {@link ABSENT} where it has none, or none that was {@link learn}ed. */
  findNumber(number: number): number {
    if (number >= LOW_NUMBERS) return (this.rare.get(number) ?? 0) - 1
    return number < this.numbered.length ? this.numbered[number]! - 1 : ABSENT
  }

  /** Looks up what {@link findNumber} is to find. */
  learn(number: number, lexicon: StringInterner): void {
    const found = this.numberOf(lexicon.text(number)) + 1
    if (number >= LOW_NUMBERS) {
      this.rare.set(number, found)
      return
    }
    if (number >= this.numbered.length) {
      const { numbered } = this
      this.numbered = new Int32Array(Math.min(LOW_NUMBERS, Math.max(number + 1, numbered.length * 2)))
      this.numbered.set(numbered)
    }
    this.numbered[number] = found
  }

  /** The numbers of texts hold no longer. */
  unlearn(): void {
    this.numbered.fill(0)
    this.rare.clear()
  }

  /** The indexes, {@link ABSENT} among them, of the texts of another dictionary. */
  translate(texts: string[]): Int32Array {
    return Int32Array.from(texts, text => this.numberOf(text))
  }

  /** What the names know the text by; remembered where it has an index. */
  hash(text: string, names: GroupPolicy): number {
    const index = this.numberOf(text)
    return index === ABSENT ? names.hash(text) : this.hashAt(index, names)
  }

  hashAt(index: number, names: GroupPolicy): number {
    return (this.hashes[index] ??= names.hash(this.texts[index]!))
  }

  text(index: number): string {
    return this.texts[index]!
  }

  strings(): string[] {
    return [...this.texts]
  }
}

/** Upper bound of a string's bytes as a JSON array element in UTF-8 (RFC 8259: quotes, escapes, a comma). */
export function jsonBytes(text: string): number {
  let bytes = 3
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20) bytes += 6
    else if (code === 0x22 || code === 0x5c) bytes += 2
    else if (code >= 0xd800 && code < 0xe000) bytes += 6
    else bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : 3
  }
  return bytes
}

/** Says which groups keep their name. */
export interface GroupPolicy {
  /** By which it knows a part of a group. */
  hash: (text: string) => number
  /** Whether a group that is new keeps its name, by the hashes of its parts. */
  admits: (host: number, referrer: number, country: number) => boolean
}
