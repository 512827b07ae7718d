import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { groups, GroupCounter, OTHER, type ColumnarCounts } from '../../src/core/columnar'
import type { Delta } from '../../src/core/messages'
import { NamedGroups } from '../../src/core/named-groups'
import { MAX_PIECE_BYTES, WindowState, type WindowSnapshot } from '../../src/core/window-state'
import { hashKey, rowsOf } from './support'

/** A delta of `size` groups with long referrers, so that a few of them fill a piece. */
function delta(number: number, size: number, kind: number): Delta {
  const referrers = Array.from({ length: size }, (_, i) => `${kind}/${i}/${'r'.repeat(2_000)}`)
  const [first, last] = [number * 1_000, number * 1_000 + size - 1]
  return {
    partition: 0,
    from: first,
    basis: null,
    first,
    last,
    hits: 2 * size,
    hosts: ['a.example'],
    referrers,
    countries: ['DE'],
    rows: rowsOf(referrers.flatMap((_, i) => [0, i, 0, 2])),
  }
}

const totals = (all: ColumnarCounts[]) => {
  const counter = new Map<string, number>()
  for (const counts of all)
    for (const { referrer, hits } of groups(counts))
      counter.set(referrer, (counter.get(referrer) ?? 0) + hits)
  return counter
}

test('pieces and what is held make the whole, in messages under the bound, however runs follow one another', () => {
  const deltas = fc.array(fc.record({ size: fc.integer({ min: 1, max: 400 }), kind: fc.nat(3) }), {
    minLength: 1,
    maxLength: 12,
  })
  const property = fc.property(
    deltas,
    fc.nat(12),
    fc.array(fc.boolean(), { minLength: 12 }),
    (all, openAt, next) => {
      const sent = all.map(({ size, kind }, number) => delta(number, size, kind))
      const pieces: ColumnarCounts[][] = []
      let window = new WindowState()
      let opened = false
      sent.forEach((delta, i) => {
        if (i === openAt) window.open()
        opened ||= i === openAt
        expect(window.apply(delta)).toBe('applied')
        expect(window.apply(delta)).toBe('repeat')
        for (const { number, counts } of window.takePieces()) {
          pieces.push(counts)
          expect(number).toBe(pieces.length)
        }
        if (!next[i]) return
        const carried = JSON.stringify(window.snapshot())
        expect(carried.length).toBeLessThan(MAX_PIECE_BYTES + 10_000)
        window = new WindowState(JSON.parse(carried) as WindowSnapshot)
        if (opened) window.open()
      })
      window.open()
      for (const piece of pieces) expect(JSON.stringify(piece).length).toBeLessThan(MAX_PIECE_BYTES + 10_000)
      expect(totals([...pieces.flat(), window.columns()])).toEqual(totals(sent))
      expect(window.hits).toBe(sent.reduce((sum, { hits }) => sum + hits, 0))
      expect(window.repeats).toBe(sent.length)
      expect(window.pieces).toBe(pieces.length)
    },
  )
  fc.assert(property, { numRuns: 60 })
})

test('in a flood of groups the totals stay exact, in bounded groups, and the host keeps its name', () => {
  const counter = new GroupCounter(new NamedGroups(100, hashKey))
  for (let i = 0; i < 50; i++) counter.add('a.example', `https://known/${i}`, 'DE')
  for (let i = 0; i < 10_000; i++) counter.add(`host${i % 3}`, `https://random/${i}`, i % 2 ? 'FR' : 'US')
  for (let i = 0; i < 50; i++) counter.add('a.example', `https://known/${i}`, 'DE')
  expect(counter.hits).toBe(10_100)
  const counted = [...groups(counter.columns())]
  expect(counted.reduce((sum, { hits }) => sum + hits, 0)).toBe(10_100)
  expect(counted.filter(({ referrer }) => referrer !== OTHER)).toHaveLength(100)
  expect(counted.filter(({ hits, host }) => host === 'a.example' && hits === 2)).toHaveLength(50)
  const other = counted.filter(({ referrer }) => referrer === OTHER)
  expect(other.map(({ host, country }) => `${host} ${country}`).sort()).toEqual(
    ['host0 FR', 'host0 US', 'host1 FR', 'host1 US', 'host2 FR', 'host2 US'].sort(),
  )
})

test('in a flood of hosts, too', () => {
  const counter = new GroupCounter(new NamedGroups(100, hashKey))
  for (let i = 0; i < 10_000; i++) counter.add(`host${i}`, '', 'DE')
  const counted = [...groups(counter.columns())]
  expect(counted.reduce((sum, { hits }) => sum + hits, 0)).toBe(10_000)
  expect(counted.length).toBeLessThanOrEqual(100 + 1_000 + 1)
  expect(counted.find(({ host }) => host === OTHER)).toEqual({
    host: OTHER,
    referrer: OTHER,
    country: 'DE',
    hits: 10_000 - 100 - 1_000,
  })
})

test('of a window group names are bounded over all ranges of a partition, not by range', () => {
  const named = new NamedGroups(10, hashKey)
  const folded = [1, 2, 3].map(() => {
    const counter = new GroupCounter(named)
    for (let i = 0; i < 20; i++) counter.add('a.example', `r${i}`, 'DE')
    return [...groups(counter.columns())]
      .filter(({ referrer }) => referrer !== OTHER)
      .map(({ referrer }) => referrer)
  })
  expect(folded[0]).toHaveLength(10)
  expect(folded[1]).toEqual(folded[0])
  expect(folded[2]).toEqual(folded[0])
})
