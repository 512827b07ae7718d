import { describe, expect, test } from '@jest/globals'
import { Ledger, type LedgerState } from '../../src/core/window/ledger'
import { LedgerTime } from '../../src/core/window/ledger-time'
import type { FlushRequest, PartitionFlush } from '../../src/core/window/protocol'
import { MINUTE, T0 } from './support'

const rules = { windowSize: 5 * MINUTE, watermarkDelay: MINUTE, allowedLateness: 0 }
const totals = { records: 10, hits: 10, late: 0, rejected: 0 }
const W0 = T0
const W1 = T0 + 5 * MINUTE
/** The workflow's clock, long after the windows. */
const NOW = T0 + 24 * 60 * MINUTE

const flushOf = (...partitions: PartitionFlush[]): FlushRequest => ({
  poller: 1,
  partitionCount: 2,
  partitions,
})

function claimed(ledger: Ledger, ...partitions: number[]) {
  return ledger.claim({
    poller: 1,
    partitionCount: 2,
    partitions: partitions.map(partition => ({ partition, earliest: 0 })),
  }).partitions
}

/** A ledger in which both partitions were claimed once and have announced [0, 10) of the first window. */
function announced(): Ledger {
  const ledger = new Ledger(rules)
  claimed(ledger, 0, 1)
  const announce = { from: 0, to: 10, windows: [W0] }
  ledger.flush(flushOf({ partition: 0, epoch: 1, announce }, { partition: 1, epoch: 1, announce }), NOW)
  return ledger
}

const done = (to: number, basis: number) => ({ to, basis, totals })

test('a partition begins at its earliest record, or at the given start position', () => {
  const ledger = new Ledger(rules, undefined, { 1: 70 })
  const request = {
    poller: 1,
    partitionCount: 2,
    partitions: [0, 1].map(partition => ({ partition, earliest: 5 })),
  }
  expect(ledger.claim(request).partitions).toEqual([
    { partition: 0, epoch: 1, position: 5, basis: null, announcedTo: null },
    { partition: 1, epoch: 1, position: 70, basis: null, announcedTo: null },
  ])
})

test('a claim returns the position, the basis and the range that was announced and is not done', () => {
  const ledger = announced()
  ledger.flush(
    flushOf({
      partition: 0,
      epoch: 1,
      done: done(10, T0 + 1),
      announce: { from: 10, to: 25, windows: [W0] },
    }),
    NOW,
  )
  expect(claimed(ledger, 0)).toEqual([
    { partition: 0, epoch: 2, position: 10, basis: T0 + 1, announcedTo: 25 },
  ])
})

test('a claim returns what the announced range has, until the range is done or another log is accepted', () => {
  const [first, second] = [
    { basis: T0 + 1, totals },
    { basis: T0 + 2, totals: { ...totals, late: 1 } },
  ]
  const ledger = new Ledger(rules)
  const announce = (epoch: number, from: number, to: number, sums = first) => {
    const finished = from > 0 ? { done: done(from, T0 + 1) } : {}
    const announced = { from, to, windows: [W0], sums }
    ledger.flush(flushOf({ partition: 0, epoch, ...finished, announce: announced }), NOW)
  }
  expect(claimed(ledger, 0)[0]).not.toHaveProperty('announced')
  announce(1, 0, 10)
  expect(claimed(ledger, 0)[0]).toMatchObject({ announcedTo: 10, announced: first })
  // A poller that finds something else announces what it was told.
  announce(2, 0, 10, second)
  const carried = JSON.parse(JSON.stringify(ledger.snapshot())) as LedgerState
  expect(claimed(new Ledger(rules, carried), 0)[0]).toMatchObject({ announcedTo: 10, announced: first })
  announce(2, 10, 20, second)
  expect(claimed(ledger, 0)[0]).toMatchObject({ announcedTo: 20, announced: second })
  ledger.acceptLog({ partition: 0 })
  expect(claimed(ledger, 0)[0]).not.toHaveProperty('announced')
  ledger.flush(flushOf({ partition: 0, epoch: 5, done: done(20, T0 + 2) }), NOW)
  expect(claimed(ledger, 0)[0]).toMatchObject({ position: 20, announcedTo: null })
})

test('a flush with an older epoch is refused for that partition only, and changes nothing', () => {
  const ledger = announced()
  claimed(ledger, 0)
  const before = ledger.snapshot().partitions[0]
  const answer = ledger.flush(
    flushOf({ partition: 0, epoch: 1, done: done(10, T0) }, { partition: 1, epoch: 1, done: done(10, T0) }),
    NOW,
  )
  expect(answer).toEqual({ refused: [0], pollers: 1 })
  expect(ledger.snapshot().partitions[0]).toEqual(before)
  expect(ledger.snapshot().partitions[1]).toMatchObject({ position: 10, announcedTo: null })
})

test('a flush that is sent again after its answer was lost changes nothing', () => {
  const ledger = announced()
  const request = flushOf({
    partition: 0,
    epoch: 1,
    done: done(10, T0 + 1),
    announce: { from: 10, to: 25, windows: [W1] },
  })
  expect(ledger.flush(request, NOW)).toEqual({ refused: [], pollers: 1 })
  const once = structuredClone(ledger.snapshot())
  expect(ledger.flush(request, NOW)).toEqual({ refused: [], pollers: 1 })
  expect(ledger.snapshot()).toEqual(once)
})

test('an announced range may only be announced again unchanged', () => {
  const ledger = announced()
  claimed(ledger, 0)
  const announce = (to: number) =>
    ledger.flush(flushOf({ partition: 0, epoch: 2, announce: { from: 0, to, windows: [W0] } }), NOW)
  expect(announce(9)).toEqual({ refused: [0], pollers: 1 })
  expect(announce(11)).toEqual({ refused: [0], pollers: 1 })
  expect(announce(10)).toEqual({ refused: [], pollers: 1 })
})

test('only the announced range can be done', () => {
  expect(announced().flush(flushOf({ partition: 0, epoch: 1, done: done(9, T0) }), NOW)).toEqual({
    refused: [0],
    pollers: 1,
  })
})

test('a window closes once the watermark of every partition has reached its end', () => {
  const ledger = announced()
  ledger.flush(flushOf({ partition: 0, epoch: 1, done: done(10, W1 + MINUTE) }), NOW)
  expect(ledger.takeDue(NOW).close).toEqual([])
  ledger.flush(flushOf({ partition: 1, epoch: 1, done: done(10, W1 + MINUTE - 1) }), NOW)
  expect(ledger.takeDue(NOW).close).toEqual([])
  ledger.flush(flushOf({ partition: 1, epoch: 1, announce: { from: 10, to: 12, windows: [] } }), NOW)
  ledger.flush(flushOf({ partition: 1, epoch: 1, done: done(12, W1 + MINUTE) }), NOW)
  expect(ledger.hasDue()).toBe(true)
  expect(ledger.takeDue(NOW).close).toEqual([W0])
  expect(ledger.takeDue(NOW).close).toEqual([])
})

test('a partition that nobody has claimed keeps every window open', () => {
  const ledger = new Ledger(rules)
  claimed(ledger, 0)
  ledger.flush(flushOf({ partition: 0, epoch: 1, announce: { from: 0, to: 10, windows: [W0] } }), NOW)
  ledger.flush(flushOf({ partition: 0, epoch: 1, done: done(10, W1 + 60 * MINUTE) }), NOW)
  expect(ledger.hasDue()).toBe(false)
  expect(ledger.frontier).toBe(-Infinity)
})

describe('an idle claim', () => {
  const idle = (ledger: Ledger, position: number, at: number, now = NOW) =>
    ledger.flush(flushOf({ partition: 1, epoch: 1, idle: { position, at } }), now)
  const waiting = () => {
    const ledger = announced()
    ledger.flush(
      flushOf(
        { partition: 0, epoch: 1, done: done(10, W1 + MINUTE) },
        { partition: 1, epoch: 1, done: done(10, W0) },
      ),
      NOW,
    )
    return ledger
  }

  test('closes a window if the poller asked for the end after the window and its delay were over', () => {
    const ledger = waiting()
    idle(ledger, 10, W1 + MINUTE - 1)
    expect(ledger.takeDue(NOW).close).toEqual([])
    idle(ledger, 10, W1 + MINUTE)
    expect(ledger.takeDue(NOW).close).toEqual([W0])
  })

  test('from a clock that is ahead counts for the time of the ledger only', () => {
    const ledger = waiting()
    idle(ledger, 10, W1 + 60 * MINUTE, W1 + MINUTE - 1)
    expect(ledger.takeDue(NOW).close).toEqual([])
    idle(ledger, 10, W1 + 60 * MINUTE, W1 + MINUTE)
    expect(ledger.takeDue(NOW).close).toEqual([W0])
  })

  test('for another position has no effect', () => {
    const ledger = waiting()
    idle(ledger, 9, W1 + MINUTE)
    expect(ledger.takeDue(NOW).close).toEqual([])
  })

  test('expires when the position advances, and does not move the watermark', () => {
    const ledger = waiting()
    idle(ledger, 10, W1 + 20 * MINUTE)
    ledger.takeDue(NOW)
    ledger.flush(flushOf({ partition: 1, epoch: 1, announce: { from: 10, to: 11, windows: [W1] } }), NOW)
    expect(ledger.hasDue()).toBe(false)
    ledger.flush(flushOf({ partition: 1, epoch: 1, done: done(11, W1) }), NOW)
    expect(ledger.hasDue()).toBe(false)
  })

  test('is awaited only once an open window is due by the clock', () => {
    const ledger = waiting()
    expect(ledger.awaited([0, 1], W1 + MINUTE - 1)).toEqual([])
    expect(ledger.awaited([0, 1], W1 + MINUTE)).toEqual([1])
    idle(ledger, 10, W1 + MINUTE)
    expect(ledger.awaited([0, 1], W1 + MINUTE)).toEqual([])
  })
})

test('a poller knows the time of the ledger from its last answer and what has passed since', () => {
  const time = new LedgerTime()
  expect(time.at(1_000)).toBe(-Infinity)
  time.answered(T0, 1_000)
  expect(time.at(1_250.7)).toBe(T0 + 250)
  // An answer that took long, or that was given before and repeated, only makes it earlier.
  time.answered(T0, 2_000)
  expect(time.at(2_250)).toBe(T0 + 250)
})

test('a ledger resumes from a snapshot', () => {
  const ledger = announced()
  const carried = JSON.parse(JSON.stringify(ledger.snapshot())) as ReturnType<Ledger['snapshot']>
  const next = new Ledger(rules, carried)
  for (const l of [ledger, next])
    l.flush(
      flushOf(
        { partition: 0, epoch: 1, done: done(10, W1 + MINUTE) },
        { partition: 1, epoch: 1, done: done(10, W1 + MINUTE) },
      ),
      NOW,
    )
  expect(next.takeDue(NOW).close).toEqual(ledger.takeDue(NOW).close)
  expect(next.snapshot()).toEqual(ledger.snapshot())
})

describe('with an allowed lateness of ten minutes', () => {
  const lenient = { ...rules, allowedLateness: 10 * MINUTE }
  const END = W0 + 5 * MINUTE

  /** A ledger whose only partition has announced and done [0, 10) of the first window, up to a watermark. */
  function upTo(watermark: number, windows = [W0]): Ledger {
    const ledger = new Ledger(lenient)
    ledger.claim({ poller: 1, partitionCount: 1, partitions: [{ partition: 0, earliest: 0 }] })
    return further(ledger, 0, watermark, windows)
  }

  function further(ledger: Ledger, from: number, watermark: number, windows = [W0]): Ledger {
    const announce = { from, to: from + 10, windows }
    ledger.flush({ ...flushOf({ partition: 0, epoch: 1, announce }), partitionCount: 1 }, NOW)
    const basis = watermark + MINUTE
    ledger.flush(
      {
        ...flushOf({ partition: 0, epoch: 1, done: done(from + 10, basis) }),
        partitionCount: 1,
      },
      NOW,
    )
    return ledger
  }

  test('a window is published once its end is passed, and only once', () => {
    expect(upTo(END - 1).takeDue(NOW)).toEqual({ publish: [], close: [] })
    const ledger = upTo(END)
    expect(ledger.hasDue()).toBe(true)
    expect(ledger.takeDue(NOW)).toEqual({ publish: [W0], close: [] })
    expect(ledger.hasDue()).toBe(false)
    further(ledger, 10, END + 9 * MINUTE)
    expect(ledger.takeDue(NOW)).toEqual({ publish: [], close: [] })
    expect(ledger.openWindows).toEqual([W0])
  })

  test('a window is closed once its end and the allowed lateness are passed', () => {
    const ledger = upTo(END)
    ledger.takeDue(NOW)
    const next = new Ledger(lenient, JSON.parse(JSON.stringify(ledger.snapshot())) as LedgerState)
    for (const l of [ledger, next]) {
      further(l, 10, END + 10 * MINUTE)
      expect(l.takeDue(NOW)).toEqual({ publish: [], close: [W0] })
      expect(l.windowCounts).toEqual({ open: 0, closing: 1, closed: 0 })
      for (const { book } of l.closing) l.settled({ start: W0, books: [book] })
      expect(l.windowCounts).toEqual({ open: 0, closing: 0, closed: 1 })
    }
  })

  test('a window of a backlog that has passed both is closed without being published', () => {
    expect(upTo(END + 10 * MINUTE).takeDue(NOW)).toEqual({ publish: [], close: [W0] })
  })

  test('at most the maximum is taken, oldest first, and a window that can close is not published first', () => {
    const windows = [W0 + 10 * MINUTE, W0, W1]
    const ended = upTo(END + 20 * MINUTE, windows)
    expect(ended.takeDue(NOW, 2)).toEqual({ publish: [], close: [W0, W1] })
    expect(ended.hasDue()).toBe(true)
    expect(ended.takeDue(NOW, 2)).toEqual({ publish: [], close: [W0 + 10 * MINUTE] })
    expect(ended.hasDue()).toBe(false)

    const publishable = upTo(END + 10 * MINUTE, windows)
    expect(publishable.takeDue(NOW, 1)).toEqual({ publish: [W1], close: [W0] })
    expect(publishable.takeDue(NOW, 1)).toEqual({ publish: [W0 + 10 * MINUTE], close: [] })
    expect(publishable.hasDue()).toBe(false)
  })

  test('an idle claim is awaited when the first result is due, and again when the window may close', () => {
    const ledger = upTo(END - 1)
    const publishable = END + MINUTE
    expect(ledger.awaited([0], publishable - 1)).toEqual([])
    expect(ledger.awaited([0], publishable)).toEqual([0])
    idle(ledger, 10, publishable)
    expect(ledger.takeDue(NOW)).toEqual({ publish: [W0], close: [] })
    expect(ledger.awaited([0], publishable + 9 * MINUTE)).toEqual([])
    expect(ledger.awaited([0], publishable + 10 * MINUTE)).toEqual([0])
    idle(ledger, 10, publishable + 10 * MINUTE)
    expect(ledger.takeDue(NOW)).toEqual({ publish: [], close: [W0] })
  })

  function idle(ledger: Ledger, position: number, at: number): void {
    ledger.flush(
      {
        ...flushOf({ partition: 0, epoch: 1, idle: { position, at } }),
        partitionCount: 1,
      },
      NOW,
    )
  }
})

describe('the fingerprint of the last done record', () => {
  const fingerprint = { offset: 8, timestamp: T0, keySize: -1, valueSize: 90, leaderEpoch: 3 }
  const fingerprinted = { ...done(10, T0), fingerprint }
  const only = (ledger: Ledger) => claimed(ledger, 0)[0]!
  const flushDone = (ledger: Ledger, said: PartitionFlush['done'], epoch = 1) =>
    ledger.flush(flushOf({ partition: 0, epoch, ...(said && { done: said }) }), NOW).refused

  test('arrives with a done range, is returned by each claim, and survives continue-as-new', () => {
    const ledger = announced()
    expect(only(ledger)).not.toHaveProperty('fingerprint')
    flushDone(ledger, fingerprinted, 2)
    expect(only(ledger)).toMatchObject({ position: 10, fingerprint })
    const carried = JSON.parse(JSON.stringify(ledger.snapshot())) as LedgerState
    expect(only(new Ledger(rules, carried))).toMatchObject({ position: 10, fingerprint })
  })

  test('is forgotten if a poller of an older release reports more as done', () => {
    const ledger = announced()
    flushDone(ledger, fingerprinted)
    ledger.flush(flushOf({ partition: 0, epoch: 1, announce: { from: 10, to: 20, windows: [W0] } }), NOW)
    flushDone(ledger, done(20, T0))
    expect(only(ledger)).not.toHaveProperty('fingerprint')
  })

  test('is forgotten once another log is accepted, for one partition or all; the position stays', () => {
    const ledger = announced()
    flushDone(ledger, fingerprinted)
    const accepted = { partition: 0, position: 10, announcedTo: null }
    expect(ledger.acceptLog({ partition: 0 })).toEqual([accepted])
    expect(only(ledger)).toEqual({
      partition: 0,
      epoch: 3,
      position: 10,
      basis: T0,
      announcedTo: null,
      accepted: true,
    })
    expect(ledger.acceptLog({})).toEqual([accepted, { partition: 1, position: 0, announcedTo: 10 }])
    expect(ledger.acceptLog({ partition: 7 })).toEqual([])
  })

  test('accepting twice changes nothing more', () => {
    const ledger = announced()
    const first = ledger.acceptLog({})
    const before = structuredClone(ledger.snapshot())
    expect(ledger.acceptLog({})).toEqual(first)
    expect(ledger.snapshot()).toEqual(before)
  })

  test('does not return with a flush that was on its way when the log was accepted', () => {
    const ledger = announced()
    ledger.acceptLog({ partition: 0 })
    expect(flushDone(ledger, fingerprinted)).toEqual([0])
    expect(only(ledger)).toMatchObject({ position: 0, announcedTo: 10, accepted: true })
  })

  test('is taken from the accepted log once part of it is done', () => {
    const ledger = announced()
    ledger.acceptLog({ partition: 0 })
    const { epoch } = only(ledger)
    expect(flushDone(ledger, fingerprinted, epoch)).toEqual([])
    const claim = only(ledger)
    expect(claim).toMatchObject({ position: 10, fingerprint })
    expect(claim).not.toHaveProperty('accepted')
  })
})

describe('the books of a window', () => {
  const END = W1 + MINUTE

  /** Partition 0 announces and is done with `[from, to)`, which has these hits and exceptions for each window. */
  function read(ledger: Ledger, from: number, to: number, basis: number, sums: Sums): void {
    const announce = { from, to, ...arraysOf(sums) }
    expect(flushed(ledger, { partition: 0, epoch: 1, announce })).toEqual([])
    expect(flushed(ledger, { partition: 0, epoch: 1, done: done(to, basis) })).toEqual([])
  }

  type Sums = [start: number, hits: number, exceptions: number][]

  const arraysOf = (sums: Sums) => ({
    windows: sums.map(([start]) => start),
    hits: sums.map(([, hits]) => hits),
    exceptions: sums.map(([, , exceptions]) => exceptions),
  })

  const flushed = (ledger: Ledger, ...partitions: PartitionFlush[]) =>
    ledger.flush({ ...flushOf(...partitions), partitionCount: 1 }, NOW).refused

  function alone(carried?: LedgerState): Ledger {
    const ledger = new Ledger(rules, carried)
    ledger.claim({ poller: 1, partitionCount: 1, partitions: [{ partition: 0, earliest: 3 }] })
    return ledger
  }

  const carriedOver = (ledger: Ledger) =>
    new Ledger(rules, JSON.parse(JSON.stringify(ledger.snapshot())) as LedgerState)

  const books = (ledger: Ledger) => ledger.books.due(NOW).map(({ start, sums }) => ({ start, ...sums }))

  test('add up its ranges, and are sent when it closes, also by the next run', () => {
    const ledger = alone()
    read(ledger, 3, 10, W0, [[W0, 4, 1]])
    read(ledger, 10, 20, END, [
      [W0, 5, 0],
      [W1, 3, 2],
    ])
    expect(ledger.books.due(NOW)).toEqual([])
    expect(ledger.takeDue(NOW)).toEqual({ publish: [], close: [W0] })
    for (const l of [ledger, carriedOver(ledger)]) {
      expect(books(l)).toEqual([{ start: W0, hits: 9, exceptions: 1 }])
      expect(l.windowCounts).toEqual({ open: 1, closing: 1, closed: 0 })
      expect(l.closing[0]!.next).toBe(NOW)
      l.books.signalSent(l.closing[0]!, NOW)
      expect(l.books.due(NOW)).toEqual([])
      expect(l.closing[0]!.next).toBe(NOW + 25_000)
    }
  })

  test('do not grow when a range is announced again, by a retry or by the next claim', () => {
    const ledger = alone()
    const announce = { from: 3, to: 10, ...arraysOf([[W0, 4, 1]]) }
    flushed(ledger, { partition: 0, epoch: 1, announce })
    flushed(ledger, { partition: 0, epoch: 1, announce })
    ledger.claim({ poller: 2, partitionCount: 1, partitions: [{ partition: 0, earliest: 3 }] })
    flushed(ledger, { partition: 0, epoch: 2, announce })
    const next = carriedOver(ledger)
    flushed(next, { partition: 0, epoch: 2, announce })
    const flush = {
      partition: 0,
      epoch: 2,
      done: done(10, END),
      announce: { from: 10, to: 11, ...arraysOf([]) },
    }
    flushed(next, flush)
    flushed(next, flush)
    next.takeDue(NOW)
    expect(books(next)).toEqual([{ start: W0, hits: 4, exceptions: 1 }])
  })

  test('do not contain refused announcements', () => {
    const ledger = alone()
    read(ledger, 3, 10, W0, [[W0, 4, 1]])
    const announce = { from: 10, to: 20, ...arraysOf([[W0, 100, 100]]) }
    expect(flushed(ledger, { partition: 0, epoch: 0, announce })).toEqual([0])
    expect(flushed(ledger, { partition: 0, epoch: 1, announce: { ...announce, from: 9 } })).toEqual([0])
    read(ledger, 10, 20, END, [[W0, 1, 0]])
    ledger.takeDue(NOW)
    expect(books(ledger)).toEqual([{ start: W0, hits: 5, exceptions: 1 }])
  })

  test('are several if late events open it again', () => {
    const ledger = alone()
    read(ledger, 3, 10, END, [[W0, 4, 1]])
    ledger.takeDue(NOW)
    read(ledger, 10, 12, END, [[W0, 2, 0]])
    ledger.takeDue(NOW)
    expect(books(ledger)).toEqual([
      { start: W0, hits: 4, exceptions: 1 },
      { start: W0, hits: 2, exceptions: 0 },
    ])
    expect(ledger.windowCounts).toEqual({ open: 0, closing: 2, closed: 0 })
    const balance = { told: { hits: 6, exceptions: 1 }, accounted: { hits: 6, exceptions: 1 } }
    ledger.settled({ start: W0, books: ledger.closing.map(({ book }) => book), balance })
    expect(ledger.windowCounts).toEqual({ open: 0, closing: 0, closed: 2 })
  })

  test('are unknown if it was opened under an older release, or a poller of one announces it', () => {
    const ledger = alone()
    flushed(ledger, { partition: 0, epoch: 1, announce: { from: 3, to: 10, windows: [W0] } })
    flushed(ledger, { partition: 0, epoch: 1, done: done(10, W0) })
    const older = ledger.snapshot()
    delete older.books
    delete older.checkpoints
    delete older.checkpointOf
    const next = new Ledger(rules, JSON.parse(JSON.stringify(older)) as LedgerState)
    read(next, 10, 20, W0, [
      [W0, 4, 1],
      [W1, 6, 0],
    ])
    flushed(next, { partition: 0, epoch: 1, announce: { from: 20, to: 30, windows: [W1] } })
    flushed(next, { partition: 0, epoch: 1, done: done(30, END + 5 * MINUTE) })
    expect(next.takeDue(NOW).close).toEqual([W0, W1])
    expect(books(next)).toEqual([{ start: W0 }, { start: W1 }])
    expect(next.sourceOf(W0)).toBeUndefined()
    expect(next.sourceOf(W1)).toMatchObject({ told: undefined, books: [{ book: 2 }], open: false })
    for (const { start, book } of next.closing) next.settled({ start, books: [book] })
    expect(next.closing).toEqual([])
    expect(next.sourceOf(W1)).toBeUndefined()
  })

  describe('come with the offsets to count it again from', () => {
    test('from before its first record to the last announced one, until it is settled', () => {
      const ledger = alone()
      read(ledger, 3, 10, W0, [[W0, 4, 1]])
      flushed(ledger, { partition: 0, epoch: 1, announce: { from: 10, to: 20, ...arraysOf([[W1, 2, 0]]) } })
      expect(ledger.sourceOf(W0)).toEqual({
        told: { hits: 4, exceptions: 1 },
        books: [],
        open: true,
        partitions: [{ partition: 0, from: 3, basis: null, to: 20 }],
      })
      flushed(ledger, { partition: 0, epoch: 1, done: done(20, END) })
      ledger.takeDue(NOW)
      const next = carriedOver(ledger)
      expect(next.sourceOf(W0)).toEqual({
        told: { hits: 4, exceptions: 1 },
        books: [{ book: 1, hits: 4, exceptions: 1 }],
        open: false,
        partitions: [{ partition: 0, from: 3, basis: null, to: 20 }],
      })
      expect(next.sourceOf(W1)).toMatchObject({
        told: { hits: 2, exceptions: 0 },
        open: true,
        partitions: [{ partition: 0, from: 10, basis: W0, to: 20 }],
      })
      const wrong = { told: { hits: 4, exceptions: 1 }, accounted: { hits: 3, exceptions: 1 } }
      next.settled({ start: W0, books: [1], balance: wrong })
      expect(next.sourceOf(W0)).toBeDefined()
      next.settled({ start: W0, books: [1], balance: { ...wrong, accounted: wrong.told } })
      expect(next.sourceOf(W0)).toBeUndefined()
      expect(next.sourceOf(W1)).toBeDefined()
    })

    test('a partition that was claimed later is read from its start', () => {
      const ledger = alone()
      read(ledger, 3, 10, W0, [[W0, 4, 1]])
      const partitions = [{ partition: 1, earliest: 70 }]
      ledger.claim({ poller: 2, partitionCount: 2, partitions })
      flushed(ledger, { partition: 1, epoch: 1, announce: { from: 70, to: 75, ...arraysOf([[W0, 5, 0]]) } })
      flushed(ledger, { partition: 1, epoch: 1, done: done(75, W0) })
      expect(ledger.sourceOf(W0)).toMatchObject({
        told: { hits: 9, exceptions: 1 },
        partitions: [
          { partition: 0, from: 3, basis: null, to: 10 },
          { partition: 1, from: 70, basis: null, to: 75 },
        ],
      })
    })

    test('also while late events keep it open again', () => {
      const ledger = alone()
      read(ledger, 3, 10, END, [[W0, 4, 1]])
      ledger.takeDue(NOW)
      flushed(ledger, { partition: 0, epoch: 1, announce: { from: 10, to: 12, ...arraysOf([[W0, 2, 0]]) } })
      const exact = { hits: 4, exceptions: 1 }
      ledger.settled({ start: W0, books: [1], balance: { told: exact, accounted: exact } })
      expect(ledger.sourceOf(W0)).toMatchObject({
        told: { hits: 2, exceptions: 0 },
        books: [],
        open: true,
        partitions: [{ from: 3, to: 12 }],
      })
    })

    test('not for a window that was never announced', () => {
      expect(alone().sourceOf(W0)).toBeUndefined()
    })
  })
})
