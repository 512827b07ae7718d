import { describe, expect, test } from '@jest/globals'
import { Ledger, type LedgerState } from '../../src/core/ledger'
import type { FlushRequest, PartitionFlush } from '../../src/core/messages'
import { MINUTE, T0 } from './support'

const rules = { windowSize: 5 * MINUTE, watermarkDelay: MINUTE, allowedLateness: 0 }
const totals = { records: 10, hits: 10, late: 0, rejected: 0 }
const W0 = T0
const W1 = T0 + 5 * MINUTE

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
  ledger.flush(flushOf({ partition: 0, epoch: 1, announce }, { partition: 1, epoch: 1, announce }))
  return ledger
}

const done = (to: number, basis: number) => ({ to, basis, totals })

test('a partition begins at its earliest record, or where the start said', () => {
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

test('a claim hands on the position, the basis and the range that was announced and is not done', () => {
  const ledger = announced()
  ledger.flush(
    flushOf({
      partition: 0,
      epoch: 1,
      done: done(10, T0 + 1),
      announce: { from: 10, to: 25, windows: [W0] },
    }),
  )
  expect(claimed(ledger, 0)).toEqual([
    { partition: 0, epoch: 2, position: 10, basis: T0 + 1, announcedTo: 25 },
  ])
})

test('an older epoch is refused for its partition alone, and changes nothing', () => {
  const ledger = announced()
  claimed(ledger, 0)
  const before = ledger.snapshot().partitions[0]
  const answer = ledger.flush(
    flushOf({ partition: 0, epoch: 1, done: done(10, T0) }, { partition: 1, epoch: 1, done: done(10, T0) }),
  )
  expect(answer).toEqual({ refused: [0], pollers: 1 })
  expect(ledger.snapshot().partitions[0]).toEqual(before)
  expect(ledger.snapshot().partitions[1]).toMatchObject({ position: 10, announcedTo: null })
})

test('a flush whose answer was lost changes nothing when it comes again', () => {
  const ledger = announced()
  const request = flushOf({
    partition: 0,
    epoch: 1,
    done: done(10, T0 + 1),
    announce: { from: 10, to: 25, windows: [W1] },
  })
  expect(ledger.flush(request)).toEqual({ refused: [], pollers: 1 })
  const once = structuredClone(ledger.snapshot())
  expect(ledger.flush(request)).toEqual({ refused: [], pollers: 1 })
  expect(ledger.snapshot()).toEqual(once)
})

test('a range that was announced may only be announced again as it was', () => {
  const ledger = announced()
  claimed(ledger, 0)
  const announce = (to: number) =>
    ledger.flush(flushOf({ partition: 0, epoch: 2, announce: { from: 0, to, windows: [W0] } }))
  expect(announce(9)).toEqual({ refused: [0], pollers: 1 })
  expect(announce(11)).toEqual({ refused: [0], pollers: 1 })
  expect(announce(10)).toEqual({ refused: [], pollers: 1 })
})

test('what is not the announced range cannot be done', () => {
  expect(announced().flush(flushOf({ partition: 0, epoch: 1, done: done(9, T0) }))).toEqual({
    refused: [0],
    pollers: 1,
  })
})

test('a window closes when the watermark of every partition has reached its end, and not before', () => {
  const ledger = announced()
  ledger.flush(flushOf({ partition: 0, epoch: 1, done: done(10, W1 + MINUTE) }))
  expect(ledger.takeDue().close).toEqual([])
  ledger.flush(flushOf({ partition: 1, epoch: 1, done: done(10, W1 + MINUTE - 1) }))
  expect(ledger.takeDue().close).toEqual([])
  ledger.flush(flushOf({ partition: 1, epoch: 1, announce: { from: 10, to: 12, windows: [] } }))
  ledger.flush(flushOf({ partition: 1, epoch: 1, done: done(12, W1 + MINUTE) }))
  expect(ledger.hasDue()).toBe(true)
  expect(ledger.takeDue().close).toEqual([W0])
  expect(ledger.takeDue().close).toEqual([])
})

test('a partition never heard of holds every window open', () => {
  const ledger = new Ledger(rules)
  claimed(ledger, 0)
  ledger.flush(flushOf({ partition: 0, epoch: 1, announce: { from: 0, to: 10, windows: [W0] } }))
  ledger.flush(flushOf({ partition: 0, epoch: 1, done: done(10, W1 + 60 * MINUTE) }))
  expect(ledger.hasDue()).toBe(false)
  expect(ledger.frontier).toBe(-Infinity)
})

describe('an idle claim', () => {
  const idle = (ledger: Ledger, position: number, at: number) =>
    ledger.flush(flushOf({ partition: 1, epoch: 1, idle: { position, at } }))
  const waiting = () => {
    const ledger = announced()
    ledger.flush(
      flushOf(
        { partition: 0, epoch: 1, done: done(10, W1 + MINUTE) },
        { partition: 1, epoch: 1, done: done(10, W0) },
      ),
    )
    return ledger
  }

  test('closes a window when the end was asked for after the window and its delay were over', () => {
    const ledger = waiting()
    idle(ledger, 10, W1 + MINUTE - 1)
    expect(ledger.takeDue().close).toEqual([])
    idle(ledger, 10, W1 + MINUTE)
    expect(ledger.takeDue().close).toEqual([W0])
  })

  test('for another position is worth nothing', () => {
    const ledger = waiting()
    idle(ledger, 9, W1 + MINUTE)
    expect(ledger.takeDue().close).toEqual([])
  })

  test('dies when the position moves on, and does not move the watermark', () => {
    const ledger = waiting()
    idle(ledger, 10, W1 + 20 * MINUTE)
    ledger.takeDue()
    ledger.flush(flushOf({ partition: 1, epoch: 1, announce: { from: 10, to: 11, windows: [W1] } }))
    expect(ledger.hasDue()).toBe(false)
    ledger.flush(flushOf({ partition: 1, epoch: 1, done: done(11, W1) }))
    expect(ledger.hasDue()).toBe(false)
  })

  test('is asked for only by an open window whose time has come', () => {
    const ledger = waiting()
    expect(ledger.awaited([0, 1], W1 + MINUTE - 1)).toEqual([])
    expect(ledger.awaited([0, 1], W1 + MINUTE)).toEqual([1])
    idle(ledger, 10, W1 + MINUTE)
    expect(ledger.awaited([0, 1], W1 + MINUTE)).toEqual([])
  })
})

test('the ledger goes on from a snapshot', () => {
  const ledger = announced()
  const carried = JSON.parse(JSON.stringify(ledger.snapshot())) as ReturnType<Ledger['snapshot']>
  const next = new Ledger(rules, carried)
  for (const l of [ledger, next])
    l.flush(
      flushOf(
        { partition: 0, epoch: 1, done: done(10, W1 + MINUTE) },
        { partition: 1, epoch: 1, done: done(10, W1 + MINUTE) },
      ),
    )
  expect(next.takeDue().close).toEqual(ledger.takeDue().close)
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
    ledger.flush({ ...flushOf({ partition: 0, epoch: 1, announce }), partitionCount: 1 })
    const basis = watermark + MINUTE
    ledger.flush({
      ...flushOf({ partition: 0, epoch: 1, done: done(from + 10, basis) }),
      partitionCount: 1,
    })
    return ledger
  }

  test('a window is told to publish once its end is passed, and once only', () => {
    expect(upTo(END - 1).takeDue()).toEqual({ publish: [], close: [] })
    const ledger = upTo(END)
    expect(ledger.hasDue()).toBe(true)
    expect(ledger.takeDue()).toEqual({ publish: [W0], close: [] })
    expect(ledger.hasDue()).toBe(false)
    further(ledger, 10, END + 9 * MINUTE)
    expect(ledger.takeDue()).toEqual({ publish: [], close: [] })
    expect(ledger.openWindows).toEqual([W0])
  })

  test('and to close once its end and the allowed lateness are', () => {
    const ledger = upTo(END)
    ledger.takeDue()
    const next = new Ledger(lenient, JSON.parse(JSON.stringify(ledger.snapshot())) as LedgerState)
    for (const l of [ledger, next]) {
      further(l, 10, END + 10 * MINUTE)
      expect(l.takeDue()).toEqual({ publish: [], close: [W0] })
      expect(l.windowCounts).toEqual({ open: 0, closed: 1 })
    }
  })

  test('of a backlog that has passed both it is told to close at once', () => {
    expect(upTo(END + 10 * MINUTE).takeDue()).toEqual({ publish: [], close: [W0] })
  })

  test('no more are taken at a time than asked for, the oldest first, and none is published before it closes', () => {
    const windows = [W0 + 10 * MINUTE, W0, W1]
    const ended = upTo(END + 20 * MINUTE, windows)
    expect(ended.takeDue(2)).toEqual({ publish: [], close: [W0, W1] })
    expect(ended.hasDue()).toBe(true)
    expect(ended.takeDue(2)).toEqual({ publish: [], close: [W0 + 10 * MINUTE] })
    expect(ended.hasDue()).toBe(false)

    const publishable = upTo(END + 10 * MINUTE, windows)
    expect(publishable.takeDue(1)).toEqual({ publish: [W1], close: [W0] })
    expect(publishable.takeDue(1)).toEqual({ publish: [W0 + 10 * MINUTE], close: [] })
    expect(publishable.hasDue()).toBe(false)
  })

  test('an idle partition is asked for its claim when the result is due, and again when it may close', () => {
    const ledger = upTo(END - 1)
    const publishable = END + MINUTE
    expect(ledger.awaited([0], publishable - 1)).toEqual([])
    expect(ledger.awaited([0], publishable)).toEqual([0])
    idle(ledger, 10, publishable)
    expect(ledger.takeDue()).toEqual({ publish: [W0], close: [] })
    expect(ledger.awaited([0], publishable + 9 * MINUTE)).toEqual([])
    expect(ledger.awaited([0], publishable + 10 * MINUTE)).toEqual([0])
    idle(ledger, 10, publishable + 10 * MINUTE)
    expect(ledger.takeDue()).toEqual({ publish: [], close: [W0] })
  })

  function idle(ledger: Ledger, position: number, at: number): void {
    ledger.flush({
      ...flushOf({ partition: 0, epoch: 1, idle: { position, at } }),
      partitionCount: 1,
    })
  }
})

describe('the fingerprint of the last done record', () => {
  const fingerprint = { offset: 8, timestamp: T0, keySize: -1, valueSize: 90, leaderEpoch: 3 }
  const fingerprinted = { ...done(10, T0), fingerprint }
  const only = (ledger: Ledger) => claimed(ledger, 0)[0]!
  const flushDone = (ledger: Ledger, said: PartitionFlush['done'], epoch = 1) =>
    ledger.flush(flushOf({ partition: 0, epoch, ...(said && { done: said }) })).refused

  test('comes with the word that a range is done, goes out with each claim, and is carried from run to run', () => {
    const ledger = announced()
    expect(only(ledger)).not.toHaveProperty('fingerprint')
    flushDone(ledger, fingerprinted, 2)
    expect(only(ledger)).toMatchObject({ position: 10, fingerprint })
    const carried = JSON.parse(JSON.stringify(ledger.snapshot())) as LedgerState
    expect(only(new Ledger(rules, carried))).toMatchObject({ position: 10, fingerprint })
  })

  test('is forgotten where a poller of the release before says that more is done', () => {
    const ledger = announced()
    flushDone(ledger, fingerprinted)
    ledger.flush(flushOf({ partition: 0, epoch: 1, announce: { from: 10, to: 20, windows: [W0] } }))
    flushDone(ledger, done(20, T0))
    expect(only(ledger)).not.toHaveProperty('fingerprint')
  })

  test('is forgotten once another log was accepted, of one partition or of all; the position stays', () => {
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

  test('accepting twice changes nothing the second time', () => {
    const ledger = announced()
    const first = ledger.acceptLog({})
    const before = structuredClone(ledger.snapshot())
    expect(ledger.acceptLog({})).toEqual(first)
    expect(ledger.snapshot()).toEqual(before)
  })

  test('does not come back by a flush that was on its way when the log was accepted', () => {
    const ledger = announced()
    ledger.acceptLog({ partition: 0 })
    expect(flushDone(ledger, fingerprinted)).toEqual([0])
    expect(only(ledger)).toMatchObject({ position: 0, announcedTo: 10, accepted: true })
  })

  test('is that of the accepted log as soon as something of it is done', () => {
    const ledger = announced()
    ledger.acceptLog({ partition: 0 })
    const { epoch } = only(ledger)
    expect(flushDone(ledger, fingerprinted, epoch)).toEqual([])
    const claim = only(ledger)
    expect(claim).toMatchObject({ position: 10, fingerprint })
    expect(claim).not.toHaveProperty('accepted')
  })
})
