import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { countNumbers, NumberReader, NumberWriter } from '../../src/core/counts/row-text'
import { rowsOf } from './support'

const number = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(100),
  fc.integer({ min: 0, max: 52 }).chain(bits => fc.integer({ min: 2 ** bits - 1, max: 2 ** bits + 1 })),
)

test('numbers survive encoding, and JSON does not escape their text', () => {
  fc.assert(
    fc.property(fc.array(number, { maxLength: 50 }), numbers => {
      const text = rowsOf(numbers)
      expect(JSON.stringify(text)).toBe(`"${text}"`)
      const reader = new NumberReader(text)
      expect(numbers.map(() => reader.next())).toEqual(numbers)
      expect(reader.done).toBe(true)
      expect(countNumbers(text)).toBe(numbers.length)
    }),
    { numRuns: 2_000 },
  )
})

test('more numbers than one chunk are encoded correctly', () => {
  const numbers = Array.from({ length: 100_000 }, (_, i) => i * 1_000)
  const reader = new NumberReader(rowsOf(numbers))
  for (const number of numbers) if (reader.next() !== number) throw new Error(`not ${number}`)
  expect(reader.done).toBe(true)
})

test('digits are base64, lowest first', () => {
  // 100 is 3 · 32 + 4: "k" is 32 + 4, "D" is 3.
  expect(rowsOf([0, 31, 32, 100])).toBe('AfgBkD')
})

test('a truncated text or one with other characters is refused', () => {
  for (const text of ['', 'k', '-', 'ü', '=']) expect(() => new NumberReader(text).next()).toThrow(RangeError)
  expect(new NumberWriter().toString()).toBe('')
})
