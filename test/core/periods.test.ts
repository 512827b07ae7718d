import fc from 'fast-check'
import { describe, expect, test } from '@jest/globals'
import { cover, divides, monthOf, periodEnd, PERIODS, type Interval } from '../../src/core/window/periods'

const at = (text: string) => Date.parse(`2026-${text}Z`)
const hours = (...all: number[]) => all.map(hour => at(`01-01T${String(hour).padStart(2, '0')}:00`))

describe('covering a stretch with whole periods', () => {
  test('merges neighbouring periods and leaves the rest at either end', () => {
    const stretch = { from: at('01-01T08:30'), to: at('01-01T11:30') }
    expect(cover([stretch], 'hour', hours(8, 9, 10, 11))).toEqual({
      covered: [{ from: at('01-01T09:00'), to: at('01-01T11:00') }],
      left: [
        { from: at('01-01T08:30'), to: at('01-01T09:00') },
        { from: at('01-01T11:00'), to: at('01-01T11:30') },
      ],
    })
  })

  test('a month ends where the next one begins, in leap years too', () => {
    expect(periodEnd('month', Date.UTC(2024, 1))).toBe(Date.UTC(2024, 2, 1))
    expect(periodEnd('month', Date.UTC(2025, 11))).toBe(Date.UTC(2026, 0))
    expect(monthOf(Date.UTC(2024, 1, 29, 23, 59))).toBe(Date.UTC(2024, 1))
    expect([divides('day', 86_400_000), divides('day', 43_200_000), divides('hour', 43_200_000)]).toEqual([
      true,
      false,
      true,
    ])
    expect(divides('month', 28 * 86_400_000)).toBe(false)
  })

  test('every time is either covered or left, and only sealed periods cover', () => {
    const hour = 3_600_000
    const arbitraryStretch = fc.tuple(fc.nat(100), fc.integer({ min: 1, max: 40 }))
    fc.assert(
      fc.property(
        fc.array(arbitraryStretch, { maxLength: 4 }),
        fc.uniqueArray(fc.nat(60)),
        (lengths, sealed) => {
          // In quarters of an hour, with a gap between.
          let from = 0
          const stretches = lengths.map(([gap, length]): Interval => {
            const stretch = { from: from + gap + 1, to: from + gap + 1 + length }
            from = stretch.to
            return stretch
          })
          const scaled = stretches.map(({ from, to }) => ({ from: (from * hour) / 4, to: (to * hour) / 4 }))
          const starts = [...sealed].sort((a, b) => a - b).map(n => n * hour)
          const { covered, left } = cover(scaled, 'hour', starts)
          const inside = (all: Interval[], time: number) =>
            all.filter(({ from, to }) => time >= from && time < to).length
          for (let quarter = 0; quarter <= from + 4; quarter++) {
            const time = (quarter * hour) / 4
            const start = Math.floor(time / hour) * hour
            const whole = scaled.some(({ from, to }) => from <= start && start + hour <= to)
            const isCovered = whole && starts.includes(start)
            expect(inside(covered, time)).toBe(isCovered ? 1 : 0)
            expect(inside(left, time)).toBe(isCovered ? 0 : inside(scaled, time))
          }
        },
      ),
    )
  })

  test('PERIODS lists the longest period first', () => {
    const ends = PERIODS.map(period => periodEnd(period, Date.UTC(2026, 0)) - Date.UTC(2026, 0))
    expect(ends).toEqual([...ends].sort((a, b) => b - a))
  })
})
