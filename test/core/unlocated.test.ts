import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { groups } from '../../src/core/counts/columnar'
import type { Delta } from '../../src/core/window/protocol'
import { PartitionReader } from '../../src/core/window/partition-reader'
import { UNLOCATED } from '../../src/core/counts/unknown-country'
import { WindowState, type WindowSnapshot } from '../../src/core/window/window-state'
import { record, rules, T0 } from './support'

const ADDRESSES = ['1', '2', '3', 'nowhere']
const claimed = { partition: 0, epoch: 1, position: 0, basis: null, announcedTo: null }

/** The lookup's result; one address belongs to no country. */
const countryOf = (ip: string) => (ip === 'nowhere' ? '??' : `C${ip}`)

const event = fc.record({
  ip: fc.constantFrom(...ADDRESSES),
  /** Whether the lookup fails when the event is read. */
  fails: fc.boolean(),
  cut: fc.boolean(),
})

/** Reads events of one window in ranges, each event with a lookup that answers or fails. */
function read(events: { ip: string; fails: boolean; cut: boolean }[]): Delta[] {
  let failing = false
  const locate = (ip: string) => (failing ? UNLOCATED : countryOf(ip))
  const reader = new PartitionReader(claimed, { ...rules, locate })
  const deltas: Delta[] = []
  events.forEach(({ ip, fails, cut }, offset) => {
    failing = fails
    reader.read([record(offset, { at: T0, ip })], offset + 1)
    const range = cut || offset === events.length - 1 ? reader.cut() : undefined
    if (range) deltas.push(range.delta(T0))
  })
  return deltas
}

test('hits with a failed lookup are under ?? and counted as unlocated once, despite repeats and continue-as-new', () => {
  const property = fc.property(
    fc.array(event, { minLength: 1, maxLength: 40 }),
    fc.infiniteStream(fc.boolean()),
    (events, repeats) => {
      let window = new WindowState()
      for (const delta of read(events)) {
        expect(delta.countries).not.toContain(UNLOCATED)
        window.apply(delta)
        if (repeats.next().value) window.apply(delta)
        if (repeats.next().value)
          window = new WindowState(JSON.parse(JSON.stringify(window.snapshot())) as WindowSnapshot)
        if (repeats.next().value) window.open()
      }
      const expected: Record<string, number> = {}
      const known = new Set<string>()
      let unlocated = 0
      for (const { ip, fails } of events) {
        // An address that was located once stays located, even if the service fails.
        if (!fails) known.add(ip)
        else if (!known.has(ip)) unlocated++
        const country = known.has(ip) ? countryOf(ip) : '??'
        expected[country] = (expected[country] ?? 0) + 1
      }
      window.open()
      const counted = [...groups(window.columns())].map(({ country, hits }) => [country, hits] as const)
      // A group is one row, even if some of its hits are under ?? because their lookup failed and others because they have no country.
      expect(new Set(counted.map(([country]) => country)).size).toBe(counted.length)
      expect(Object.fromEntries(counted)).toEqual(expected)
      expect(window.unlocated).toBe(unlocated)
    },
  )
  fc.assert(property, { numRuns: 500 })
})

test('after a failed lookup, the next event with the address looks it up again', () => {
  const deltas = read([true, true, false, false].map(fails => ({ ip: '1', fails, cut: true })))
  expect(deltas.map(({ countries, unlocated }) => [countries, unlocated])).toEqual([
    [['??'], 1],
    [['??'], 1],
    [['C1'], undefined],
    [['C1'], undefined],
  ])
})

test('a late event whose lookup failed is late under ??', () => {
  const locate = () => UNLOCATED
  const reader = new PartitionReader(claimed, { ...rules, locate })
  const later = T0 + 10 * rules.windowSize
  reader.read([record(0, { at: later }), record(1, { at: T0 })], 2)
  expect(reader.cut()!.delta(later).exceptions!.late).toMatchObject([{ windowStart: T0, countries: ['??'] }])
})

test('a snapshot of an older release has no unlocated hits', () => {
  const carried = new WindowState().snapshot()
  delete carried.unlocated
  expect(new WindowState(carried).unlocated).toBe(0)
})
