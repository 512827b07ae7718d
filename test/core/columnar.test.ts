import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { GroupCounter, groups, type ColumnarCounts } from '../../src/core/counts/columnar'
import { StringInterner, Interners } from '../../src/core/counts/string-interning'
import { hashKey } from './support'

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

test('columns of any strings survive JSON, and are no larger than their estimate', () => {
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

describe('numbered texts', () => {
  const identity = (text: string) => text
  const interners = new Interners(
    new StringInterner(identity, hashKey),
    new StringInterner(identity, hashKey),
    new StringInterner(identity, hashKey),
  )
  const numbered = (host: string, referrer: string) => ({
    host: interners.hosts.number(host),
    referrer: interners.referrers.number(referrer),
    country: interners.countries.number('DE'),
  })

  test('are found again after few or many others, but not after a clear', () => {
    const counter = new GroupCounter()
    for (const round of [1, 2, 3]) {
      for (let i = 0; i < 10_000; i++)
        counter.count(numbered('a.example', `https://r/${i * round}`), interners)
      if (round === 2) {
        for (const interner of [interners.hosts, interners.referrers, interners.countries]) interner.clear()
        interners.generation++
      }
    }
    const expected = new Map<string, number>()
    for (const round of [1, 2, 3])
      for (let i = 0; i < 10_000; i++) {
        const referrer = `https://r/${i * round}`
        expected.set(referrer, (expected.get(referrer) ?? 0) + 1)
      }
    const counted = [...groups(counter.columns())].map(({ referrer, hits }): [string, number] => [
      referrer,
      hits,
    ])
    expect(new Map(counted)).toEqual(expected)
    expect(counted).toHaveLength(expected.size)
  })

  test('cost a counter no more if they arrived late', () => {
    for (let i = 0; i < 60_000; i++) interners.referrers.number(`https://many/${i}`)
    const before = process.memoryUsage().arrayBuffers
    const counters = Array.from({ length: 1_000 }, (_, i) => {
      const counter = new GroupCounter()
      counter.count(numbered('a.example', `https://many/${59_000 + i}`), interners)
      return counter
    })
    expect((process.memoryUsage().arrayBuffers - before) / counters.length).toBeLessThan(5_000)
    expect(counters.every(({ hits }) => hits === 1)).toBe(true)
  })
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
