import { ByteCache } from './byte-cache'
import type { HashKey } from './half-sip-hash'

/** Texts of one kind at most; then all are forgotten. */
const MAX_TEXTS = 1 << 16

/** Numbers texts in the order in which they come, and finds a text's number by the bytes that it was written in. */
export class StringInterner {
  private readonly numbers = new Map<string, number>()
  private texts: string[] = []
  private readonly cache: ByteCache<number>

  /**
   * @param normal how a text is counted, from the way it was written
   * @param transient a text that the next time may be another one
   */
  constructor(normal: (written: string) => string, key: HashKey, transient?: string) {
    const keeps = (number: number) => this.texts[number] !== transient
    this.cache = new ByteCache(written => this.number(normal(written)), key, keeps)
  }

  /** Number of the text that is written at `[from, to)` in UTF-8. */
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

  forget(): void {
    this.numbers.clear()
    this.texts = []
    this.cache.forget()
  }
}

/**
 * The hosts, referrers and countries of events by number, so that an event is counted without a string being made or
 * looked up. Numbers hold for one generation: when there are too many texts, all are forgotten, and a new one begins.
 */
export class Interners {
  generation = 0

  constructor(
    readonly hosts: StringInterner,
    readonly referrers: StringInterner,
    readonly countries: StringInterner,
  ) {}

  /** To be called between two events: the numbers of one must be of one generation. */
  makeRoom(): void {
    if (!this.hosts.full && !this.referrers.full && !this.countries.full) return
    for (const lexicon of [this.hosts, this.referrers, this.countries]) lexicon.forget()
    this.generation++
  }
}
