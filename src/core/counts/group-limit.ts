import { MAX_HOST_LENGTH, MAX_REFERRER_LENGTH } from '../event/event'
import { halfSipHash, type HashKey } from './half-sip-hash'
import type { GroupPolicy } from './dictionary'

/** The hosts and referrers of a window's named groups have at most this many characters on average. */
const CHARACTERS_PER_GROUP = 200

const FIRST_CAPACITY = 64
const TWO_32 = 2 ** 32

const { imul } = Math

/**
 * Names a window's first distinct groups for the reader of one partition, at a few bytes per group. It distinguishes
 * groups by 64 bits of keyed hashes, so nobody can choose groups that are mistaken for each other.
 *
 * It names one group of any length more than {@link firstGroups}. So where it refuses a group, the window's result
 * refuses one too, and whether a window has `(other)` groups does not depend on the order of reading.
 */
export class GroupLimit implements GroupPolicy {
  /** A hash table with linear probing, at most half full. A slot is two halves of a hash; the second is 0 if it is free. */
  private slots = new Int32Array(FIRST_CAPACITY * 4)
  private size = 0
  private characters = 0
  private readonly maxSize: number
  private readonly maxCharacters: number

  constructor(
    maxGroups: number,
    private readonly key: HashKey,
  ) {
    this.maxSize = maxGroups + 1
    this.maxCharacters = maxCharacters(maxGroups) + MAX_HOST_LENGTH + MAX_REFERRER_LENGTH
  }

  get bytes(): number {
    return this.slots.byteLength
  }

  /** 53 bits from two hashes with two keys. */
  hash(text: string): number {
    const end = write(text)
    const [a, b, c, d] = this.key
    return (halfSipHash(bytes, 0, end, c, d) >>> 11) * TWO_32 + (halfSipHash(bytes, 0, end, a, b) >>> 0)
  }

  /** Different odd factors make one text as a host differ from the same text as a referrer. */
  admits(host: number, referrer: number, country: number, characters: number): boolean {
    const low = (imul(host | 0, 0x9e3779b1) + imul(referrer | 0, 0x85ebca77) + (country | 0)) | 0
    const high = (imul(upper(host), 0xc2b2ae3d) + imul(upper(referrer), 0x27d4eb2f) + upper(country)) | 0 || 1
    const at = this.slotOf(low, high)
    if (this.slots[at + 1] !== 0) return true
    if (this.size >= this.maxSize || this.characters + characters > this.maxCharacters) return false
    this.slots[at] = low
    this.slots[at + 1] = high
    this.characters += characters
    if (++this.size * 4 === this.slots.length) this.grow()
    return true
  }

  private slotOf(low: number, high: number): number {
    const { slots } = this
    const mask = slots.length - 2
    let at = ((low ^ (low >>> 15)) << 1) & mask
    while (slots[at + 1] !== 0 && (slots[at] !== low || slots[at + 1] !== high)) at = (at + 2) & mask
    return at
  }

  private grow(): void {
    const { slots } = this
    this.slots = new Int32Array(slots.length * 2)
    for (let from = 0; from < slots.length; from += 2) {
      const low = slots[from]!
      const high = slots[from + 1]!
      if (high === 0) continue
      const at = this.slotOf(low, high)
      this.slots[at] = low
      this.slots[at + 1] = high
    }
  }
}

function upper(hash: number): number {
  return (hash / TWO_32) | 0
}

/** How many characters the hosts and referrers of a window's named groups have at most. */
export function maxCharacters(maxGroups: number): number {
  return maxGroups * CHARACTERS_PER_GROUP
}

/** Names the first groups of a window's result. Its counter asks about a named group only once. */
export function firstGroups(maxGroups: number): GroupPolicy {
  let groups = maxGroups
  let left = maxCharacters(maxGroups)
  return {
    hash: () => 0,
    admits(_host, _referrer, _country, characters) {
      if (groups === 0 || characters > left) return false
      groups--
      left -= characters
      return true
    },
  }
}

let bytes = new Uint8Array(1_024)

/** Writes the text's code units into `bytes`; returns their end. */
function write(text: string): number {
  const { length } = text
  if (length * 2 > bytes.length) bytes = new Uint8Array(length * 4)
  const into = bytes
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i)
    into[2 * i] = unit
    into[2 * i + 1] = unit >>> 8
  }
  return 2 * length
}
