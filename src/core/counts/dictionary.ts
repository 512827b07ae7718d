import type { StringInterner } from './string-interning'

/** The index of a text that is not in the dictionary. */
export const ABSENT = -1

/** Lower numbers are looked up in an array, higher ones in a map. */
const LOW_NUMBERS = 4_096

/** The distinct texts of one column in order of arrival, and their size as JSON. */
export class Dictionary {
  private readonly indexes = new Map<string, number>()
  private readonly texts: string[] = []
  /** Filled on demand. */
  private readonly hashes: number[] = []
  /** Index plus one by the interner's number; 0 if not learned yet. */
  private numbered = new Int32Array(16)
  /** The same for high numbers: late, rare texts, which must not cost every dictionary a long array. */
  private readonly rare = new Map<number, number>()
  bytes = 0

  /** The text's index, or {@link ABSENT}. */
  indexOf(text: string): number {
    return this.indexes.get(text) ?? ABSENT
  }

  /** The text's index; adds the text if it is absent. */
  add(text: string): number {
    let index = this.indexes.get(text)
    if (index === undefined) {
      index = this.texts.push(text) - 1
      this.indexes.set(text, index)
      this.bytes += jsonBytes(text)
    }
    return index
  }

  /** The index of the text with this number; {@link ABSENT} if it has none or was not {@link learn}ed. */
  indexOfNumber(number: number): number {
    if (number >= LOW_NUMBERS) return (this.rare.get(number) ?? 0) - 1
    return number < this.numbered.length ? this.numbered[number]! - 1 : ABSENT
  }

  /** Makes {@link indexOfNumber} find the text with this number. */
  learn(number: number, interner: StringInterner): void {
    const found = this.indexOf(interner.text(number)) + 1
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

  /** Invalidates the interner's numbers. */
  unlearn(): void {
    this.numbered.fill(0)
    this.rare.clear()
  }

  /** The index of each text, or {@link ABSENT}. */
  translate(texts: string[]): Int32Array {
    return Int32Array.from(texts, text => this.indexOf(text))
  }

  /** The policy's hash of the text; cached if the text has an index. */
  hash(text: string, policy: GroupPolicy): number {
    const index = this.indexOf(text)
    return index === ABSENT ? policy.hash(text) : this.hashAt(index, policy)
  }

  hashAt(index: number, policy: GroupPolicy): number {
    return (this.hashes[index] ??= policy.hash(this.texts[index]!))
  }

  text(index: number): string {
    return this.texts[index]!
  }

  strings(): string[] {
    return [...this.texts]
  }
}

/** Upper bound of a string's bytes as a JSON array element in UTF-8: quotes, escapes, a comma. */
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

/** Decides which groups keep their name. */
export interface GroupPolicy {
  hash: (text: string) => number
  /** Whether a new group keeps its name, given the hashes of its parts and the length of its host and referrer. */
  admits: (host: number, referrer: number, country: number, characters: number) => boolean
}
