import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { parseEventTime } from '../../src/core/event/event-time'

const noon = Date.UTC(2026, 0, 31, 12)

test.each<[unknown, number]>([
  ['2026-01-31T12:00:00Z', noon],
  ['2026-01-31T12:00:00.250Z', noon + 250],
  ['2026-01-31T12:00:00,250Z', noon + 250],
  ['2026-01-31T12:00:00.123456789Z', noon + 123],
  ['2026-01-31T12:00Z', noon],
  ['2026-01-31T13:30:00+01:30', noon],
  ['2026-01-31T13:30:00+0130', noon],
  ['2026-01-31T04:00:00-08', noon],
  ['2026-01-31 12:00:00', noon],
  ['2026-01-31 12:00:00.5', noon + 500],
  ['2026-01-31 12:00:00+00:00', noon],
  ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29)],
  [noon / 1_000, noon],
  [noon, noon],
  [noon / 1_000 + 0.5, noon + 500],
  [0, 0],
  [99_999_999_999, 99_999_999_999_000],
  [100_000_000_000, 100_000_000_000],
  ['9998-12-31T23:59:59.999Z', Date.UTC(9999, 0) - 1],
])('%p is read as %p', (value, expected) => {
  expect(parseEventTime(value)).toBe(expected)
})

test.each<[unknown]>([
  ['2026-01-31T12:00:00'],
  ['2026-01-31 12:00'],
  ['2026-01-31'],
  ['2026-02-29T12:00:00Z'],
  ['2026-13-01T12:00:00Z'],
  ['2026-01-32T12:00:00Z'],
  ['2026-01-31T24:00:00Z'],
  ['2026-01-31T12:60:00Z'],
  ['2026-01-31T12:00:60Z'],
  ['2026-01-31T12:00:00+24:00'],
  ['2026-01-31T12:00:00+01:75'],
  ['1969-12-31T23:59:59Z'],
  ['0075-01-31T12:00:00Z'],
  ['0075-01-31 12:00:00'],
  ['9999-01-01T00:00:00Z'],
  // Microseconds, read as milliseconds, are in a five-digit year, which no window name can have.
  [noon * 1_000],
  ['yesterday'],
  [''],
  ['1769860800'],
  [-1],
  [NaN],
  [Infinity],
  [9e15],
  [true],
  [{}],
  [null],
])('%p is not an event time', value => {
  expect(parseEventTime(value)).toBeUndefined()
})

const moment = fc.integer({ min: 0, max: Date.UTC(9998, 11, 31) })

test('every time is read back from its ISO string', () => {
  fc.assert(
    fc.property(moment, time => {
      const text = new Date(time).toISOString()
      expect(parseEventTime(text)).toBe(time)
      expect(parseEventTime(text.replace(/\.\d+/, ''))).toBe(time - (time % 1_000))
    }),
    { numRuns: 1_000 },
  )
})

/** Texts in the plain form or a few characters off, valid or invalid. */
const nearlyPlain = fc
  .record({
    fields: fc.tuple(
      fc.integer({ min: 0, max: 9_999 }),
      ...[13, 32, 25, 61, 61].map(max => fc.integer({ min: 0, max })),
    ),
    fraction: fc.constantFrom('', '.000', '.123', ',123', '.1', '.1234'),
    zone: fc.constantFrom('Z', 'z', '', '+00:00'),
    slips: fc.array(
      fc.record({ at: fc.nat(23), by: fc.constantFrom('0', '9', '-', ':', 'T', ' ', '/', '٣') }),
      {
        maxLength: 2,
      },
    ),
  })
  .map(({ fields: [year, month, day, hour, minute, second], fraction, zone, slips }) => {
    const two = (field: number | undefined) => String(field).padStart(2, '0')
    const date = `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}`
    const text = `${date}T${two(hour)}:${two(minute)}:${two(second)}${fraction}${zone}`
    return slips.reduce((slipped, { at, by }) => slipped.slice(0, at) + by + slipped.slice(at + 1), text)
  })

test('the fast path for the plain form agrees with the pattern', () => {
  fc.assert(
    // A leading space keeps the meaning but prevents the fast path.
    fc.property(nearlyPlain, text => expect(parseEventTime(text)).toBe(parseEventTime(` ${text}`))),
    { numRuns: 5_000 },
  )
})
