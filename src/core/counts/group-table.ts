import { NumberWriter } from './row-text'

const FIRST_CAPACITY = 16

/** A key further than this from its home slot means that the keys were chosen to collide; chance does not do that. */
const MAX_DISTANCE = 256

// Captured because a workflow's sandbox makes every lookup of a global slow.
const { clz32, imul } = Math

/**
 * Counts by three integers, each below 2³¹. Rows are kept in order of arrival and found through a hash table with linear
 * probing that is at most half full, so counting an event allocates nothing.
 *
 * Workflows have no secret to hash with, and outsiders can choose the keys by choosing the order of hosts and referrers.
 * Keys that crowd are therefore hashed again with other constants, under which they no longer collide.
 */
export class GroupTable {
  private keys = new Int32Array(FIRST_CAPACITY * 3)
  private counts = new Float64Array(FIRST_CAPACITY)
  /** Index of a row plus one, 0 if the slot is free. */
  private slots = new Int32Array(FIRST_CAPACITY * 2)
  /** How many of the hash's 32 bits are dropped. */
  private shift = shiftFor(FIRST_CAPACITY * 2)
  /** Odd, with well spread bits; the first ones are from xxHash. */
  private factorA = 0x9e3779b1 | 0
  private factorB = 0x85ebca77 | 0
  private factorC = 0xc2b2ae3d | 0
  size = 0

  /** Index of the row, or -1. */
  indexOf(a: number, b: number, c: number): number {
    return this.slots[this.slotFor(a, b, c)]! - 1
  }

  increase(row: number, count: number): void {
    this.counts[row]! += count
  }

  key(row: number, part: 0 | 1 | 2): number {
    return this.keys[row * 3 + part]!
  }

  count(row: number): number {
    return this.counts[row]!
  }

  /** Appends a row; the key must not have one. */
  append(a: number, b: number, c: number, count: number): void {
    if (this.size === this.counts.length) this.grow()
    const at = this.size * 3
    this.keys[at] = a
    this.keys[at + 1] = b
    this.keys[at + 2] = c
    this.counts[this.size] = count
    this.slots[this.slotFor(a, b, c)] = ++this.size
  }

  /** Four numbers per row: its key and its count. */
  toText(): string {
    const writer = new NumberWriter()
    for (let row = 0; row < this.size; row++) {
      for (let i = 0; i < 3; i++) writer.write(this.keys[row * 3 + i]!)
      writer.write(this.counts[row]!)
    }
    return writer.toString()
  }

  /** The key's slot, or the free slot where it belongs. */
  private slotFor(a: number, b: number, c: number): number {
    const home = this.hash(a, b, c)
    const slot = this.probe(home, a, b, c)
    if (((slot - home) & (this.slots.length - 1)) <= MAX_DISTANCE) return slot
    this.spread()
    return this.probe(this.hash(a, b, c), a, b, c)
  }

  private probe(home: number, a: number, b: number, c: number): number {
    const { keys, slots } = this
    const mask = slots.length - 1
    let slot = home
    for (;;) {
      const row = slots[slot]! - 1
      if (row < 0) return slot
      const at = row * 3
      if (keys[at] === a && keys[at + 1] === b && keys[at + 2] === c) return slot
      slot = (slot + 1) & mask
    }
  }

  /** Multiply-shift (Dietzfelbinger et al., "A reliable randomized algorithm for the closest-pair problem", 1997). */
  private hash(a: number, b: number, c: number): number {
    return (imul(a, this.factorA) + imul(b, this.factorB) + imul(c, this.factorC)) >>> this.shift
  }

  private grow(): void {
    const { keys, counts } = this
    this.keys = new Int32Array(keys.length * 2)
    this.keys.set(keys)
    this.counts = new Float64Array(counts.length * 2)
    this.counts.set(counts)
    this.slots = new Int32Array(this.slots.length * 2)
    this.shift = shiftFor(this.slots.length)
    if (!this.placeAll(MAX_DISTANCE)) this.spread()
  }

  /** Hashes all keys with other constants. Each try allows twice the distance, so that it ends. */
  private spread(): void {
    for (let distance = MAX_DISTANCE; ; distance *= 2) {
      this.factorA = next(this.factorA)
      this.factorB = next(this.factorB)
      this.factorC = next(this.factorC)
      this.slots.fill(0)
      if (this.placeAll(distance)) return
    }
  }

  /** Returns false, and stops, at a key that would be further than this from its home slot. */
  private placeAll(distance: number): boolean {
    const mask = this.slots.length - 1
    for (let row = 0; row < this.size; row++) {
      const at = row * 3
      const home = this.hash(this.keys[at]!, this.keys[at + 1]!, this.keys[at + 2]!)
      let slot = home
      while (this.slots[slot] !== 0) slot = (slot + 1) & mask
      if (((slot - home) & mask) > distance) return false
      this.slots[slot] = row + 1
    }
    return true
  }
}

function shiftFor(slots: number): number {
  return clz32(slots - 1)
}

/** The next of a sequence of unrelated odd numbers. */
function next(factor: number): number {
  return imul(factor ^ (factor >>> 15), 0x2c1b3c6d) | 1
}
