import { expect, test } from '@jest/globals'
import { halfSipHash } from '../../src/core/counts/half-sip-hash'

/**
 * Hashes of the bytes 0, 1, … n - 1 with the key 00 01 … 07, for n = 0, 1, 2, …: the test vectors of Linux's 32-bit hsiphash
 * (lib/tests/siphash_kunit.c).
 */
const VECTORS = [
  0x5814c896, 0xe7e864ca, 0xbc4b0e30, 0x01539939, 0x7e059ea6, 0x88e3d89b, 0xa0080b65, 0x9d38d9d6, 0x577999b1,
  0xc839caed, 0xe4fa32cf, 0x959246ee, 0x6b28096c, 0x66dd9cd6, 0x16658a7c, 0xd0257b04, 0x8b31d501, 0x2b1cd04b,
]
const LONGEST = { length: 63, hash: 0x87178304 }

const counting = (length: number) => Uint8Array.from({ length }, (_, i) => i)
const hash = (bytes: Uint8Array, from = 0, to = bytes.length) =>
  halfSipHash(bytes, from, to, 0x03020100, 0x07060504) >>> 0

test('the hash is HalfSipHash-1-3', () => {
  expect(VECTORS.map((_, length) => hash(counting(length)))).toEqual(VECTORS)
  expect(hash(counting(LONGEST.length))).toBe(LONGEST.hash)
})

test('only the bytes in the range count, at any alignment', () => {
  for (const shift of [1, 2, 3, 4])
    for (const [length, expected] of VECTORS.entries()) {
      const bytes = new Uint8Array(shift + length + 5).fill(0xff)
      bytes.set(counting(length), shift)
      expect(hash(bytes, shift, shift + length)).toBe(expected)
    }
})
