import type { Admits } from './columnar'
import { halfSipHash, type HashKey } from './half-sip-hash'

/** A character of more than seven bits, and the end of a text. No other byte is above 0x7f. */
const WIDE = 0x80
const END = 0x81

/**
 * Remembers which groups of a window have a name, in a few bytes a group: after `max` distinct ones no new group gets
 * one. Groups are told apart by 53 bits of a keyed hash, so that nobody can choose groups that pass for one another; two
 * that do by chance are both named, and counted apart.
 */
export class NamedGroups {
  private readonly hashes = new Set<number>()

  constructor(
    private readonly max: number,
    private readonly key: HashKey,
  ) {}

  /** Whether the group has a name, or can still be given one. */
  readonly admits: Admits = (host, referrer, country) => {
    const hash = groupHash(host, referrer, country, this.key)
    if (this.hashes.has(hash)) return true
    if (this.hashes.size >= this.max) return false
    this.hashes.add(hash)
    return true
  }
}

/** Names the first `max` groups that it is asked about: for a counter of its own, which asks once for each that it names. */
export function firstGroups(max: number): Admits {
  let named = 0
  return () => named < max && ++named > 0
}

let bytes = new Uint8Array(1_024)

/** A whole number below 2⁵³: two hashes by two keys. */
function groupHash(host: string, referrer: string, country: string, [a, b, c, d]: HashKey): number {
  const room = (host.length + referrer.length + country.length) * 3 + 3
  if (room > bytes.length) bytes = new Uint8Array(room * 2)
  const end = write(country, write(referrer, write(host, 0)))
  const high = halfSipHash(bytes, 0, end, c, d) >>> 11
  return high * 2 ** 32 + (halfSipHash(bytes, 0, end, a, b) >>> 0)
}

/** Writes the text and its end, so that `ab`, `c` and `a`, `bc` differ; returns where the next one begins. */
function write(text: string, from: number): number {
  let at = from
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < WIDE) bytes[at++] = unit
    else {
      bytes[at] = WIDE
      bytes[at + 1] = unit
      bytes[at + 2] = unit >>> 8
      at += 3
    }
  }
  bytes[at] = END
  return at + 1
}
