import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { groups, GroupCounter, OTHER, type ColumnarCounts } from '../../src/core/counts/columnar'
import type { Delta, DeltaExceptions } from '../../src/core/window/protocol'
import { firstGroups, GroupLimit } from '../../src/core/counts/group-limit'
import { GroupLimits } from '../../src/core/window/group-limits'
import {
  deltaBytes,
  exceptionBytes,
  MAX_EXCEPTION_BYTES,
  MAX_PIECE_BYTES,
  WindowState,
  type WindowSnapshot,
} from '../../src/core/window/window-state'
import { hashKey, rowsOf, T0 } from './support'

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

test('pieces and held counts add up to the whole, in bounded messages, across any number of runs', () => {
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
        if (!window.hasRoomFor(delta)) {
          const { number, counts } = window.cutPiece()
          pieces.push(counts)
          expect(number).toBe(pieces.length)
          expect(window.hasRoomFor(delta)).toBe(true)
        }
        expect(window.apply(delta)).toBe('applied')
        expect(window.apply(delta)).toBe('repeat')
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

test('in a flood of groups the totals stay exact, the groups bounded, and hosts keep their names', () => {
  const counter = new GroupCounter(new GroupLimit(100, hashKey))
  for (let i = 0; i < 50; i++) counter.add('a.example', `https://known/${i}`, 'DE')
  for (let i = 0; i < 10_000; i++) counter.add(`host${i % 3}`, `https://random/${i}`, i % 2 ? 'FR' : 'US')
  for (let i = 0; i < 50; i++) counter.add('a.example', `https://known/${i}`, 'DE')
  expect(counter.hits).toBe(10_100)
  const counted = [...groups(counter.columns())]
  expect(counted.reduce((sum, { hits }) => sum + hits, 0)).toBe(10_100)
  expect(counted.filter(({ referrer }) => referrer !== OTHER)).toHaveLength(101)
  expect(counted.filter(({ hits, host }) => host === 'a.example' && hits === 2)).toHaveLength(50)
  const other = counted.filter(({ referrer }) => referrer === OTHER)
  expect(other.map(({ host, country }) => `${host} ${country}`).sort()).toEqual(
    ['host0 FR', 'host0 US', 'host1 FR', 'host1 US', 'host2 FR', 'host2 US'].sort(),
  )
})

test('in a flood of hosts the totals stay exact and the groups bounded', () => {
  const counter = new GroupCounter(new GroupLimit(100, hashKey))
  for (let i = 0; i < 10_000; i++) counter.add(`host${i}`, '', 'DE')
  const counted = [...groups(counter.columns())]
  expect(counted.reduce((sum, { hits }) => sum + hits, 0)).toBe(10_000)
  expect(counted.length).toBeLessThanOrEqual(101 + 1_000 + 1)
  expect(counted.find(({ host }) => host === OTHER)).toEqual({
    host: OTHER,
    referrer: OTHER,
    country: 'DE',
    hits: 10_000 - 101 - 1_000,
  })
})

test('the limit of named groups of a window spans all ranges of a partition', () => {
  const named = new GroupLimit(10, hashKey)
  const folded = [1, 2, 3].map(() => {
    const counter = new GroupCounter(named)
    for (let i = 0; i < 20; i++) counter.add('a.example', `r${i}`, 'DE')
    return [...groups(counter.columns())]
      .filter(({ referrer }) => referrer !== OTHER)
      .map(({ referrer }) => referrer)
  })
  expect(folded[0]).toHaveLength(11)
  expect(folded[1]).toEqual(folded[0])
  expect(folded[2]).toEqual(folded[0])
})

test('the limits of the windows least recently used are dropped beyond 16 MB', () => {
  const limits = new GroupLimits(250_000, hashKey)
  const fill = (start: number) => {
    const limit = limits.of(start)
    for (let i = 0; i < 20_000; i++) limit.admits(i, start, 0, 50)
    return limit
  }
  const before = Array.from({ length: 64 }, (_, start) => fill(start))
  const oldest = fill(0)
  limits.drop(start => start === 63)
  const kept = before.map((limit, start) => limits.of(start) === limit)
  const memory = before.reduce((sum, { bytes }, start) => (kept[start] ? sum + bytes : sum), 0)
  expect(memory).toBeLessThanOrEqual(16 << 20)
  expect(memory).toBeGreaterThan(15 << 20)
  expect(oldest).toBe(before[0])
  expect({ first: kept[0], second: kept[1], last: kept[62], over: kept[63] }).toEqual({
    ...{ first: true, second: false, last: true, over: false },
  })
})

test('whether groups lose their name depends on what was counted alone, not on who read it, and in which order', () => {
  const MAX_GROUPS = 4
  const referrer = fc.oneof(
    fc.constantFrom('', OTHER, 'r', 's', 't', 'u'),
    fc.nat(900).map(n => 'x'.repeat(n)),
  )
  const group = fc.record({ host: fc.constantFrom('a', 'b'), referrer, country: fc.constantFrom('DE', 'FR') })
  // By reader: a partition, or what was left of it when its poller restarted.
  const readers = fc.array(fc.array(group, { maxLength: 6 }), { minLength: 1, maxLength: 4 })
  const property = fc.property(readers, readers => {
    const result = new GroupCounter(firstGroups(MAX_GROUPS))
    for (const read of readers) {
      const range = new GroupCounter(new GroupLimit(MAX_GROUPS, hashKey))
      for (const { host, referrer, country } of read) range.add(host, referrer, country)
      result.addAll(range.columns())
    }
    const distinct = new Map(
      readers.flat().map(group => [JSON.stringify(group), group.host.length + group.referrer.length]),
    )
    const characters = [...distinct.values()].reduce((sum, length) => sum + length, 0)
    expect(result.folded).toBe(distinct.size > MAX_GROUPS || characters > 200 * MAX_GROUPS)
    expect(result.hits).toBe(readers.flat().length)
    const named = [...result.all()].filter(({ referrer }) => referrer !== OTHER)
    expect(named.length).toBeLessThanOrEqual(MAX_GROUPS)
    expect(
      named.reduce((sum, { host, referrer }) => sum + host.length + referrer.length, 0),
    ).toBeLessThanOrEqual(200 * MAX_GROUPS)
  })
  fc.assert(property, { numRuns: 1_000 })
})

const NO_COUNTS = { hosts: [], referrers: [], countries: [], rows: '' }

const carriedOver = (window: WindowState) =>
  new WindowState(JSON.parse(JSON.stringify(window.snapshot())) as WindowSnapshot)

/** Deltas numbered consecutively have consecutive offsets. */
function anyDelta(partition: number, number: number, fields: Partial<Delta> = {}): Delta {
  const [first, last] = [number * 10, number * 10 + 9]
  return { partition, from: first, basis: null, first, last, hits: 0, ...NO_COUNTS, ...fields }
}

const hit = (hits: number) => ({
  hits,
  hosts: ['a.example'],
  referrers: [''],
  countries: ['DE'],
  rows: rowsOf([0, 0, 0, hits]),
})

const rejected = (records: number): DeltaExceptions => ({
  records,
  late: [],
  rejected: { invalid_json: records },
  samples: [],
})

test('a delta larger than a piece fits if nothing is held, and nothing fits beside it', () => {
  const window = new WindowState(undefined, 10_000)
  window.open()
  const large = delta(0, 20, 0)
  expect(deltaBytes(large)).toBeGreaterThan(40_000)
  expect(window.hasRoomFor(large)).toBe(true)
  window.apply(large)
  expect(window.hasRoomFor(delta(1, 1, 1))).toBe(false)
  expect(totals(window.cutPiece().counts)).toEqual(totals([large]))
  expect(window.hasRoomFor(large)).toBe(true)
  expect(window.groups).toBe(0)
  expect(window.hits).toBe(40)
})

test('waiting deltas take up room like counted ones, and are cut separately', () => {
  const window = new WindowState(undefined, 10_000)
  const small = [delta(0, 1, 0), delta(1, 1, 0), delta(2, 1, 0)]
  for (const one of small) {
    expect(window.hasRoomFor(one)).toBe(true)
    window.apply(one)
  }
  expect(window.hasRoomFor(delta(3, 4, 0))).toBe(false)
  expect(window.cutPiece()).toEqual({ number: 1, counts: small })
  expect(window.takeWaiting()).toEqual([])
})

test('staged deltas are known by their last offsets across runs, and count once', () => {
  let window = new WindowState()
  const staged = (partition: number, number: number, hits: number) =>
    anyDelta(partition, number, { hits, staged: true })
  for (const one of [staged(0, 0, 5), staged(1, 0, 7), anyDelta(0, 1, hit(2))]) window.apply(one)
  expect(window.stagedDeltas).toBe(0)
  window = carriedOver(window)
  window.open()
  window.apply(staged(0, 2, 11))
  window.apply(staged(0, 2, 11))
  window = carriedOver(window)
  window.open()
  expect(window.staged).toEqual({
    hits: 23,
    last: [
      [0, [9, 29]],
      [1, [9]],
    ],
  })
  expect(window.stagedDeltas).toBe(3)
  expect(window).toMatchObject({ hits: 25, deltas: 4, repeats: 1, groups: 1 })
  expect(totals([window.columns()])).toEqual(new Map([['', 2]]))
})

test('exceptions are kept until they are recorded; those that the poller has recorded are only counted', () => {
  let window = new WindowState()
  window.apply(anyDelta(0, 0, { exceptions: rejected(3) }))
  // It waits like the counts, since Postgres may find it to be a repeat, which must not be recorded.
  expect(window.toRecord).toEqual([])
  expect(window.exceptions).toBe(0)
  window.open()
  window.apply(anyDelta(1, 0, { exceptions: { ...rejected(100), recorded: true, rejected: {} } }))
  window.apply(anyDelta(1, 1, { ...hit(1), exceptions: rejected(2) }))
  window.apply(anyDelta(1, 1, { ...hit(1), exceptions: rejected(2) }))
  window = carriedOver(window)
  window.open()
  expect(window.exceptions).toBe(105)
  expect(window.toRecord).toEqual([
    { partition: 0, from: 0, to: 10, late: [], rejected: { invalid_json: 3 }, samples: [] },
    { partition: 1, from: 10, to: 20, late: [], rejected: { invalid_json: 2 }, samples: [] },
  ])
  const under = window.toRecord.length
  window.apply(anyDelta(1, 2, { exceptions: rejected(1) }))
  window.recorded(under)
  expect(window.toRecord).toMatchObject([{ partition: 1, from: 20 }])
  window.recorded(1)
  expect(window.toRecord).toEqual([])
  expect(carriedOver(window)).toMatchObject({ exceptions: 106, hits: 1 })
})

test('exceptions have a separate bound, and have room again once they are recorded', () => {
  const window = new WindowState()
  window.open()
  const samples = Array.from({ length: 1_000 }, (_, i): [number, string] => [2 ** 53 - 1 - i, 'missing_host'])
  const many = (number: number): Delta => anyDelta(0, number, { exceptions: { ...rejected(1_000), samples } })
  let taken = 0
  while (window.hasRoomForExceptionsOf(many(taken))) window.apply(many(taken++))
  expect(taken).toBeGreaterThanOrEqual(3)
  const bytes = JSON.stringify(window.toRecord).length
  expect(bytes).toBeLessThanOrEqual(MAX_EXCEPTION_BYTES)
  expect(window.hasRoomFor(many(taken))).toBe(true)
  expect(window.hasRoomForExceptionsOf(anyDelta(0, taken, hit(1)))).toBe(true)
  window.recorded(taken)
  expect(window.hasRoomForExceptionsOf(many(taken))).toBe(true)
  // A delta with any number of exceptions has room if no others wait.
  const huge = anyDelta(0, taken, {
    exceptions: { ...rejected(9_000), samples: new Array<[number, string]>(9_000).fill(samples[0]!) },
  })
  expect(exceptionBytes(huge.exceptions!)).toBeGreaterThan(MAX_EXCEPTION_BYTES)
  expect(window.hasRoomForExceptionsOf(huge)).toBe(true)
})

test('a run that resumes from a snapshot has the same state, opened or not', () => {
  const part = fc.record({
    partition: fc.nat(2),
    hits: fc.nat(3),
    kind: fc.constantFrom('inline', 'staged', 'recorded'),
    records: fc.nat(3),
    continues: fc.boolean(),
    opens: fc.boolean(),
  })
  const property = fc.property(fc.array(part, { maxLength: 20 }), parts => {
    const one = new WindowState()
    let other = new WindowState()
    let opened = false
    const expected = { inline: 0, staged: 0, exceptions: 0, toRecord: 0 }
    parts.forEach(({ partition, hits, kind, records, continues, opens }, i) => {
      const exceptions = { ...rejected(records), ...(kind === 'recorded' && { recorded: true as const }) }
      const counts = kind === 'staged' ? { hits, staged: true as const } : hits > 0 ? hit(hits) : {}
      const part = anyDelta(partition, i, { ...counts, ...(records > 0 && { exceptions }) })
      expected[kind === 'staged' ? 'staged' : 'inline'] += hits
      expected.exceptions += records
      expected.toRecord += kind === 'recorded' ? 0 : records
      for (const window of [one, other]) window.apply(part)
      opened ||= opens
      if (continues) other = carriedOver(other)
      if (opened) for (const window of [one, other]) window.open()
    })
    for (const window of [one, other]) window.open()
    expect(other.snapshot()).toEqual(one.snapshot())
    expect(one.hits).toBe(expected.inline + expected.staged)
    expect(one.staged.hits).toBe(expected.staged)
    expect([...totals([one.columns()]).values()].reduce((sum, hits) => sum + hits, 0)).toBe(expected.inline)
    expect(one.exceptions).toBe(expected.exceptions)
    const toRecord = one.toRecord.flatMap(({ rejected }) => Object.values(rejected))
    expect(toRecord.reduce((sum, records) => sum + records, 0)).toBe(expected.toRecord)
  })
  fc.assert(property, { numRuns: 300 })
})

test('a snapshot of an older release has no staged deltas and no exceptions', () => {
  const older = new WindowState().snapshot()
  delete older.staged
  delete older.exceptions
  delete older.unrecorded
  const window = new WindowState(older)
  expect(window.staged).toEqual({ hits: 0, last: [] })
  expect(window.exceptions).toBe(0)
  expect(window.toRecord).toEqual([])
})

test('deltaBytes is never less than the size of a delta as JSON', () => {
  const text = fc.string({ unit: 'binary', maxLength: 20 })
  const property = fc.property(
    fc.array(text, { maxLength: 5 }),
    fc.array(text, { maxLength: 5 }),
    fc.array(fc.tuple(fc.nat(), fc.constantFrom('invalid_json', 'lost_to_retention'))),
    (inTime, late, samples) => {
      const columns = (referrers: string[]) => {
        const counter = new GroupCounter()
        for (const referrer of referrers) counter.add('a.example', referrer, 'DE', 2 ** 40)
        return counter.columns()
      }
      const exceptions = {
        records: 2 ** 53 - 1,
        late: late.map((referrer, i) => ({ windowStart: T0 + i, ...columns([referrer]) })),
        rejected: { invalid_json: 2 ** 53 - 1, lost_to_retention: 2 ** 53 - 1 },
        samples,
      }
      const numbers = {
        partition: 2 ** 31 - 1,
        from: 2 ** 53 - 1,
        basis: T0,
        first: 2 ** 53 - 1,
        last: 2 ** 53 - 1,
      }
      const large = { ...numbers, hits: 2 ** 53 - 1, unlocated: 2 ** 53 - 1, exceptions, ...columns(inTime) }
      expect(Buffer.byteLength(JSON.stringify(large))).toBeLessThanOrEqual(deltaBytes(large))
    },
  )
  fc.assert(property)
})
