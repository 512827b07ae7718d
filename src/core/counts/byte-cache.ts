import { halfSipHash, type HashKey } from './half-sip-hash'

/** The cache is full at this many entries, or bytes of their keys. */
const MAX_ENTRIES = 1 << 16
const MAX_BYTES = 1 << 22
const FIRST_ENTRIES = 1 << 8

/**
 * Caches a function of a text by the text's UTF-8 bytes, so that a repeated text makes no string. A hash table with linear
 * probing, at most half full; keyed hashes prevent chosen collisions. The owner calls {@link clear} once it is
 * {@link full}.
 */
export class ByteCache<T> {
  /** Index of an entry plus one, 0 if the slot is free. */
  private slots = new Int32Array(FIRST_ENTRIES * 2)
  private hashes = new Int32Array(FIRST_ENTRIES)
  /** Where an entry's key ends in `keys`; it begins where the previous one ends. */
  private ends = new Int32Array(FIRST_ENTRIES)
  private keys = new Uint8Array(FIRST_ENTRIES * 16)
  private values: T[] = []

  private readonly k0: number
  private readonly k1: number

  /** @param keeps false for a value that is not cached */
  constructor(
    private readonly make: (text: string) => T,
    key: HashKey,
    private readonly keeps: (value: T) => boolean = () => true,
  ) {
    ;[this.k0, this.k1] = key
  }

  /** The function's value for the text at `[from, to)`; invalid UTF-8 is read as U+FFFD. */
  get(bytes: Uint8Array, from: number, to: number): T {
    const hash = halfSipHash(bytes, from, to, this.k0, this.k1)
    const mask = this.slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.slots[slot]! - 1
      if (entry < 0) return this.add(bytes.subarray(from, to), hash, slot)
      if (this.hashes[entry] === hash && this.isKey(entry, bytes, from, to)) return this.values[entry]!
    }
  }

  private isKey(entry: number, bytes: Uint8Array, from: number, to: number): boolean {
    const start = this.startOf(entry)
    if (this.ends[entry]! - start !== to - from) return false
    for (let i = from, at = start; i < to; i++, at++) if (bytes[i] !== this.keys[at]) return false
    return true
  }

  private startOf(entry: number): number {
    return entry === 0 ? 0 : this.ends[entry - 1]!
  }

  private add(key: Uint8Array, hash: number, slot: number): T {
    const value = this.make(decodeText(key))
    if (!this.keeps(value)) return value
    const entry = this.values.length
    const start = this.startOf(entry)
    const end = start + key.length
    if (end > this.keys.length) this.keys = enlarged(this.keys, new Uint8Array(end * 2))
    this.keys.set(key, start)
    this.ends[entry] = end
    this.hashes[entry] = hash
    this.values.push(value)
    this.slots[slot] = entry + 1
    if (this.values.length === this.hashes.length) this.grow()
    return value
  }

  private grow(): void {
    const { length } = this.hashes
    this.hashes = enlarged(this.hashes, new Int32Array(length * 2))
    this.ends = enlarged(this.ends, new Int32Array(length * 2))
    this.slots = new Int32Array(length * 4)
    const mask = this.slots.length - 1
    for (let entry = 0; entry < length; entry++) {
      let slot = this.hashes[entry]! & mask
      while (this.slots[slot] !== 0) slot = (slot + 1) & mask
      this.slots[slot] = entry + 1
    }
  }

  get full(): boolean {
    return this.values.length >= MAX_ENTRIES || this.startOf(this.values.length) >= MAX_BYTES
  }

  clear(): void {
    this.slots.fill(0)
    this.values = []
  }
}

function enlarged<A extends Int32Array | Uint8Array>(from: A, into: A): A {
  into.set(from)
  return into
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** Decodes UTF-8; invalid bytes become U+FFFD, and a byte order mark is kept. */
export function decodeText(bytes: Uint8Array): string {
  return decoder.decode(bytes)
}
