import { NumberWriter } from './row-text'

const FIRST_CAPACITY = 16

// Workflows look up a global through the sandbox, every time anew, which took a third of their time here.
const { imul } = Math

/**
 * Counts by three whole numbers, each below 2³¹. Rows lie one after another in the order in which they came; a hash
 * table with linear probing (Knuth, The Art of Computer Programming 3, 6.4, algorithm L) that is at most half full
 * finds them, so that nothing is allocated for an event.
 */
export class GroupTable {
  private keys = new Int32Array(FIRST_CAPACITY * 3)
  private counts = new Float64Array(FIRST_CAPACITY)
  /** Index of a row plus one, 0 where there is none. */
  private slots = new Int32Array(FIRST_CAPACITY * 2)
  size = 0

  /** Index of the row, -1 where there is none. */
  find(a: number, b: number, c: number): number {
    return this.slots[this.slotOf(a, b, c)]! - 1
  }

  increase(row: number, count: number): void {
    this.counts[row]! += count
  }

  /** Appends the row of a key that has none. */
  append(a: number, b: number, c: number, count: number): void {
    if (this.size === this.counts.length) this.grow()
    const at = this.size * 3
    this.keys[at] = a
    this.keys[at + 1] = b
    this.keys[at + 2] = c
    this.counts[this.size] = count
    this.slots[this.slotOf(a, b, c)] = ++this.size
  }

  /** Four numbers a row: its key and its count. */
  toText(): string {
    const writer = new NumberWriter()
    for (let row = 0; row < this.size; row++) {
      for (let i = 0; i < 3; i++) writer.write(this.keys[row * 3 + i]!)
      writer.write(this.counts[row]!)
    }
    return writer.toString()
  }

  /** Where the key's row is named, or would be. */
  private slotOf(a: number, b: number, c: number): number {
    const { keys, slots } = this
    const mask = slots.length - 1
    let slot = hash(a, b, c) & mask
    for (;;) {
      const row = slots[slot]! - 1
      if (row < 0) return slot
      const at = row * 3
      if (keys[at] === a && keys[at + 1] === b && keys[at + 2] === c) return slot
      slot = (slot + 1) & mask
    }
  }

  private grow(): void {
    const { keys, counts } = this
    this.keys = new Int32Array(keys.length * 2)
    this.keys.set(keys)
    this.counts = new Float64Array(counts.length * 2)
    this.counts.set(counts)
    this.slots = new Int32Array(this.slots.length * 2)
    for (let row = 0; row < this.size; row++) {
      const at = row * 3
      this.slots[this.slotOf(keys[at]!, keys[at + 1]!, keys[at + 2]!)] = row + 1
    }
  }
}

/** Multiplication by odd constants with well spread bits (those of xxHash), the upper half folded into the lower. */
function hash(a: number, b: number, c: number): number {
  const mixed = imul(a, 0x9e3779b1) ^ imul(b, 0x85ebca77) ^ imul(c, 0xc2b2ae3d)
  return mixed ^ (mixed >>> 16)
}
