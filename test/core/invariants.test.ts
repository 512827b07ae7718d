import { describe, expect, test } from '@jest/globals'
import { InvariantError } from '../../src/core/invariant'
import { Books } from '../../src/core/window/books'
import { Ledger, type LedgerState } from '../../src/core/window/ledger'
import { PartitionReader } from '../../src/core/window/partition-reader'
import { PollerState } from '../../src/core/window/poller-state'
import type { Delta, PartitionFlush } from '../../src/core/window/protocol'
import { WindowState } from '../../src/core/window/window-state'
import { MINUTE, record, rules, rowsOf, T0 } from './support'

const totals = { records: 1, hits: 1, late: 0, rejected: 0 }
const claim = { partition: 0, epoch: 1, position: 0, basis: null, announcedTo: null }

/** Makes private fields reachable, to cause what the code prevents. */
const inside = <T>(object: object) => object as T

describe('an invariant fires if', () => {
  /** A poller that holds one record of partition 0. */
  function holding(): PollerState {
    const state = new PollerState(1, rules)
    state.assign([claim], new Map())
    state.reader(0)!.read([record(0, { at: T0 })], 1)
    return state
  }

  test('a poller plans a flush while another is in flight', () => {
    const state = holding()
    state.plan(1)
    expect(() => state.plan(1)).toThrow(InvariantError)
  })

  test('a poller takes an answer to a flush that it has not planned', () => {
    const state = holding()
    expect(() => state.accepted({ refused: [], pollers: 1 })).toThrow(InvariantError)
    state.plan(1)
    state.accepted({ refused: [], pollers: 1 })
    expect(() => state.accepted({ refused: [], pollers: 1 })).toThrow(InvariantError)
  })

  test('a poller would send deltas of an older claim', () => {
    const state = holding()
    state.plan(1)
    const { readers } = inside<{ readers: Map<number, PartitionReader> }>(state)
    readers.set(0, new PartitionReader({ ...claim, epoch: 2 }, rules))
    expect(() => state.accepted({ refused: [], pollers: 1 })).toThrow(InvariantError)
  })

  test('a re-read range would not end where it was announced', () => {
    const reader = new PartitionReader({ ...claim, announcedTo: 5 }, rules)
    inside<{ range: { to: number } }>(reader).range.to = 6
    expect(() => reader.cut()).toThrow('a re-read range ends where it was announced')
  })

  test("a partition's watermark would move back within a range", () => {
    const reader = new PartitionReader({ ...claim, basis: T0 + MINUTE }, rules)
    reader.read([record(0, { at: T0 + MINUTE })], 1)
    inside<{ range: { toBasis: number } }>(reader).range.toBasis = T0
    expect(() => reader.cut()).toThrow('the watermark of a partition never moves back')
  })

  test('a book would decrease, or its number be used twice', () => {
    const books = new Books({ closing: [{ start: T0, book: 5, since: T0, told: 0, next: T0 }], nextBook: 5 })
    for (const sums of [
      { hits: -1, exceptions: 0 },
      { hits: 0, exceptions: -1 },
      { hits: NaN, exceptions: 0 },
    ])
      expect(() => books.announce(T0, sums, true)).toThrow('the sums of a book never decrease')
    expect(() => books.close(T0, T0)).toThrow('a book number is never used twice')
  })

  test("a partition's position would not advance", () => {
    const state: LedgerState = {
      partitionCount: 1,
      partitions: {
        0: { epoch: 1, position: 10, basis: null, announcedTo: 9, idleAt: null, poller: 1, totals },
      },
      openWindows: [],
      published: [],
      closed: 0,
    }
    const done = { to: 9, basis: null, totals }
    expect(() =>
      new Ledger(rules, state).flush(
        {
          poller: 1,
          partitionCount: 1,
          partitions: [{ partition: 0, epoch: 1, done }],
        },
        T0,
      ),
    ).toThrow('the position of a partition only advances')
  })

  test('more exceptions are recorded than wait', () => {
    const window = new WindowState()
    window.open()
    window.recorded(0)
    expect(() => window.recorded(1)).toThrow(InvariantError)
  })
})

describe('no message from outside trips an invariant:', () => {
  /** A ledger whose partition 0 is done to offset 10 under epoch 2, and has announced [10, 20). */
  function ledger(): Ledger {
    const ledger = new Ledger(rules)
    const partitions = [{ partition: 0, earliest: 0 }]
    ledger.claim({ poller: 1, partitionCount: 1, partitions })
    ledger.claim({ poller: 2, partitionCount: 1, partitions })
    flush(ledger, { announce: { from: 0, to: 10, windows: [T0], hits: [1], exceptions: [0] } })
    flush(ledger, {
      done: { to: 10, basis: T0 + MINUTE, totals },
      announce: { from: 10, to: 20, windows: [T0], hits: [1], exceptions: [0] },
    })
    return ledger
  }

  const flush = (ledger: Ledger, part: Partial<PartitionFlush>) =>
    ledger.flush(
      {
        poller: 2,
        partitionCount: 1,
        partitions: [{ partition: 0, epoch: 2, ...part }],
      },
      T0,
    ).refused

  const ahead = { to: 20, basis: T0 + 2 * MINUTE, totals }
  const next = { from: 20, to: 30, windows: [T0], hits: [1], exceptions: [1] }

  test.each<[string, Partial<PartitionFlush>]>([
    ["a zombie's range", { epoch: 1, done: ahead }],
    ['an epoch that nobody has', { epoch: 3, done: ahead }],
    ['an unknown partition', { partition: 7, done: ahead }],
    ['a position that goes back', { done: { ...ahead, to: 5 } }],
    ['a range that was not announced', { done: { ...ahead, to: 19 } }],
    ['a watermark that goes back', { done: { ...ahead, basis: T0 } }],
    ['a watermark that is gone', { done: { ...ahead, basis: null } }],
    ['an empty range', { done: ahead, announce: { ...next, to: 20 } }],
    ['a range that ends before it begins', { done: ahead, announce: { ...next, to: 11 } }],
    ['a negative number of hits', { done: ahead, announce: { ...next, hits: [-1] } }],
    ['a negative number of exceptions', { done: ahead, announce: { ...next, exceptions: [-1] } }],
    ['hits for none of the windows', { done: ahead, announce: { ...next, hits: [] } }],
    ['hits that are not numbers', { done: ahead, announce: { ...next, hits: [NaN] } }],
  ])('the ledger refuses %s, and stays as it is', (_, part) => {
    const refusing = ledger()
    const before = structuredClone(refusing.snapshot())
    expect(flush(refusing, part)).toEqual([part.partition ?? 0])
    expect(refusing.snapshot()).toEqual(before)
    expect(flush(refusing, { done: ahead, announce: next })).toEqual([])
  })

  test('an older release announces without sums, and a window answers for books that nobody knows', () => {
    const tolerant = ledger()
    expect(flush(tolerant, { done: ahead, announce: { from: 20, to: 30, windows: [T0] } })).toEqual([])
    tolerant.settled({ start: T0, books: [99] })
    tolerant.settled({ start: 0, books: [1], balance: { told: none, accounted: none } })
    expect(tolerant.openWindows).toEqual([T0])
  })

  const none = { hits: 0, exceptions: 0 }

  test('a window drops deltas whose last offset is not beyond what it has applied', () => {
    const delta = (first: number, last: number): Delta => ({
      partition: 0,
      from: first,
      basis: null,
      first,
      last,
      hits: 1,
      hosts: ['a.example'],
      referrers: [''],
      countries: ['DE'],
      rows: rowsOf([0, 0, 0, 1]),
    })
    const window = new WindowState()
    expect([delta(0, 9), delta(0, 9), delta(12, 9), delta(12, 5)].map(one => window.apply(one))).toEqual([
      'applied',
      'repeat',
      'repeat',
      'repeat',
    ])
    expect(window.applied).toMatchObject([{ partition: 0, last: 9 }])
  })
})
