/**
 * 128 secret random bits as four 32-bit numbers. Outsiders choose hosts, referrers and addresses; without a secret they
 * could choose colliding ones (hash flooding).
 */
export type HashKey = readonly [number, number, number, number]

/**
 * HalfSipHash-1-3 of the bytes at `[from, to)`, 32 bits as a signed number: SipHash (Aumasson and Bernstein, 2012) on
 * 32-bit words, with one round per word and three at the end. Linux uses it for hash tables as `hsiphash`.
 */
export function halfSipHash(bytes: Uint8Array, from: number, to: number, k0: number, k1: number): number {
  let v0 = k0
  let v1 = k1
  let v2 = 0x6c796765 ^ k0
  let v3 = 0x74656462 ^ k1
  const length = to - from
  const words = from + (length & ~3)
  let at = from
  for (; at < words; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
  }
  let last = length << 24
  for (let bits = 0; at < to; at++, bits += 8) last |= bytes[at]! << bits
  v3 ^= last
  for (let round = 0; round < 4; round++) {
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    if (round > 0) continue
    v0 ^= last
    v2 ^= 0xff
  }
  return v1 ^ v3
}
