import { ByteCache } from './byte-cache'
import type { HashKey } from './half-sip-hash'

const MAX_TEXTS = 1 << 16

/** Numbers strings in order of arrival, and finds a string's number by its UTF-8 bytes. */
export class StringInterner {
  private readonly numbers = new Map<string, number>()
  private texts: string[] = []
  private readonly cache: ByteCache<number>

  /**
   * @param normalize turns a text as written into the form that is counted
   * @param transient a form that is not cached by the bytes, because the next call may normalize them differently
   */
  constructor(normalize: (written: string) => string, key: HashKey, transient?: string) {
    const keeps = (number: number) => this.texts[number] !== transient
    this.cache = new ByteCache(written => this.number(normalize(written)), key, keeps)
  }

  /** Number of the text whose UTF-8 bytes are at `[from, to)`. */
  read(bytes: Uint8Array, from: number, to: number): number {
    return this.cache.get(bytes, from, to)
  }

  number(text: string): number {
    let number = this.numbers.get(text)
    if (number === undefined) {
      number = this.texts.push(text) - 1
      this.numbers.set(text, number)
    }
    return number
  }

  text(number: number): string {
    return this.texts[number]!
  }

  get full(): boolean {
    return this.texts.length >= MAX_TEXTS || this.cache.full
  }

  clear(): void {
    this.numbers.clear()
    this.texts = []
    this.cache.clear()
  }
}

/**
 * Numbers of the hosts, referrers and countries of events, so that counting an event neither makes nor looks up a string.
 * Numbers are valid for one generation: once one interner is full, all are cleared and the next generation begins.
 */
export class Interners {
  generation = 0

  constructor(
    readonly hosts: StringInterner,
    readonly referrers: StringInterner,
    readonly countries: StringInterner,
  ) {}

  /** Call it only between two events, since the numbers of one event must be of one generation. */
  makeRoom(): void {
    if (!this.hosts.full && !this.referrers.full && !this.countries.full) return
    for (const interner of [this.hosts, this.referrers, this.countries]) interner.clear()
    this.generation++
  }
}
