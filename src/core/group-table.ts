/** Numbers a row: three of the key, and the count. */
const WIDTH = 4
const FIRST_CAPACITY = 16

/**
 * Counts by three whole numbers, each below 2³¹. Rows lie one after another in the order in which they came; a hash
 * table with linear probing (Knuth, The Art of Computer Programming 3, 6.4, algorithm L) that is at most half full
 * finds them, so that nothing is allocated for an event.
 */
export class GroupTable {
  private rows = new Float64Array(FIRST_CAPACITY * WIDTH)
  /** Index of a row plus one, 0 where there is none. */
  private slots = new Int32Array(FIRST_CAPACITY * 2)
  size = 0

  /** Index of the row, -1 where there is none. */
  find(a: number, b: number, c: number): number {
    return this.slots[this.slotOf(a, b, c)]! - 1
  }

  increase(row: number, count: number): void {
    this.rows[row * WIDTH + 3]! += count
  }

  /** Appends the row of a key that has none. */
  append(a: number, b: number, c: number, count: number): void {
    if ((this.size + 1) * WIDTH > this.rows.length) this.grow()
    const { rows, size } = this
    const at = size * WIDTH
    rows[at] = a
    rows[at + 1] = b
    rows[at + 2] = c
    rows[at + 3] = count
    this.slots[this.slotOf(a, b, c)] = ++this.size
  }

  toArray(): number[] {
    const numbers = new Array<number>(this.size * WIDTH)
    for (let i = 0; i < numbers.length; i++) numbers[i] = this.rows[i]!
    return numbers
  }

  /** Where the key's row is named, or would be. */
  private slotOf(a: number, b: number, c: number): number {
    const { rows, slots } = this
    const mask = slots.length - 1
    let slot = hash(a, b, c) & mask
    for (;;) {
      const row = slots[slot]! - 1
      if (row < 0) return slot
      const at = row * WIDTH
      if (rows[at] === a && rows[at + 1] === b && rows[at + 2] === c) return slot
      slot = (slot + 1) & mask
    }
  }

  private grow(): void {
    const { rows, slots } = this
    this.rows = new Float64Array(rows.length * 2)
    this.rows.set(rows)
    this.slots = new Int32Array(slots.length * 2)
    for (let row = 0; row < this.size; row++) {
      const at = row * WIDTH
      this.slots[this.slotOf(rows[at]!, rows[at + 1]!, rows[at + 2]!)] = row + 1
    }
  }
}

/** Multiplication by odd constants with well spread bits (those of xxHash), the upper half folded into the lower. */
function hash(a: number, b: number, c: number): number {
  const mixed = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca77) ^ Math.imul(c, 0xc2b2ae3d)
  return mixed ^ (mixed >>> 16)
}
