import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { GroupCounter, groups, type ColumnarCounts } from '../../src/core/columnar'

const group = fc.record({
  host: fc.string({ unit: 'binary', maxLength: 8 }),
  referrer: fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', '__proto__', 'constructor', '\0', '\uD800'),
  ),
  country: fc.constantFrom('DE', 'FR', '??'),
  hits: fc.integer({ min: 1, max: 1_000_000 }),
})

function count(
  all: { host: string; referrer: string; country: string; hits: number }[],
): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { host, referrer, country, hits } of all) {
    const key = JSON.stringify([host, referrer, country])
    counts.set(key, (counts.get(key) ?? 0) + hits)
  }
  return counts
}

test('columns survive their journey as JSON with any strings, and stay under the size that was foretold', () => {
  fc.assert(
    fc.property(fc.array(group, { maxLength: 60 }), all => {
      const counter = new GroupCounter()
      for (const { host, referrer, country, hits } of all) counter.add(host, referrer, country, hits)
      const json = JSON.stringify(counter.columns())
      expect(count([...groups(JSON.parse(json) as ColumnarCounts)])).toEqual(count(all))
      expect(Buffer.byteLength(json)).toBeLessThanOrEqual(counter.encodedBytes)
    }),
    { numRuns: 500 },
  )
})

test('merging columns adds their counts', () => {
  fc.assert(
    fc.property(fc.array(fc.array(group, { maxLength: 20 }), { maxLength: 5 }), parts => {
      const merged = new GroupCounter()
      for (const part of parts) {
        const counter = new GroupCounter()
        for (const { host, referrer, country, hits } of part) counter.add(host, referrer, country, hits)
        merged.addAll(counter.columns())
      }
      expect(count([...groups(merged.columns())])).toEqual(count(parts.flat()))
      expect(merged.hits).toBe(parts.flat().reduce((sum, { hits }) => sum + hits, 0))
    }),
  )
})
