import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { addDeltas, closeWindow, publishWindow, windowProgress } from '../../src/contract/messages'
import { until } from '../support/until'
import { countsOf, historyOf, MINUTE, newDelta, quietRuntime, untilHandled } from './support'
import { isWrite, SkippingServer } from './window-support'

let server: SkippingServer

beforeAll(async () => {
  quietRuntime()
  server = await SkippingServer.start()
}, 120_000)

afterAll(() => server?.stop())

test('a window with a close signal still waits for its end and the watermark delay', async () => {
  const window = await server.newWindow()
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(closeWindow)
  await untilHandled(handle, ({ name }) => name === 'close')
  await server.skipTo(window.due - 30_000)
  expect(await handle.query(windowProgress)).toMatchObject({ state: 'open', hits: 4 })
  expect((await historyOf(handle)).some(isWrite)).toBe(false)

  await handle.result()
  const written = (await historyOf(handle)).find(isWrite)!
  expect(written.at).toBeGreaterThanOrEqual(window.due)
  expect(window.sink.writes).toHaveLength(1)
})

test('a window past its end still waits for the close signal', async () => {
  const window = await server.newWindow()
  const handle = await window.send(newDelta(0, 0, 3))
  await untilHandled(handle, ({ kind }) => kind === 'activity done')
  await server.skipTo(window.due + MINUTE)
  await untilHandled(handle, ({ kind }) => kind === 'timer fired')
  // The window is still open, so this delta counts.
  await handle.signal(addDeltas, [newDelta(0, 4, 9)])
  const events = await untilHandled(handle, ({ kind, at }) => kind === 'signal' && at > window.due)
  expect(events.some(isWrite)).toBe(false)
  expect(await handle.query(windowProgress)).toMatchObject({ state: 'open', hits: 10 })

  await handle.signal(closeWindow)
  expect(await handle.result()).toMatchObject({ hits: 10, lateHits: 0 })
  expect(window.sink.writes).toHaveLength(1)
})

test('a window writes its absolute totals once and ends with a summary', async () => {
  const window = await server.newWindow()
  const handle = await window.send(newDelta(0, 0, 3), newDelta(1, 7, 7, { country: '??' }))
  await window.send(newDelta(0, 4, 9), newDelta(1, 8, 9, { host: 'b.example', referrer: 'https://r/' }))
  await handle.signal(closeWindow)
  const result = await handle.result()

  expect(window.sink.writes).toHaveLength(1)
  const [{ counts, ...written }] = window.sink.writes as [(typeof window.sink.writes)[0]]
  expect(countsOf(counts)).toEqual({
    'a.example  DE': 10,
    'a.example  ??': 1,
    'b.example https://r/ DE': 2,
  })
  expect(written).toEqual({
    settings: window.settings,
    start: window.start,
    unlocated: 0,
    revision: 1,
    status: 'closed',
    hits: 13,
    pieces: { chain: handle.signaledRunId, count: 0 },
    applied: [
      { partition: 0, from: 0, basis: null, last: 9 },
      { partition: 1, from: 7, basis: null, last: 9 },
    ],
  })
  expect(result).toEqual({
    summary: `${window.name}: 13 hits in 3 groups, written as revision 1.`,
    hits: 13,
    groups: 3,
    otherHits: 0,
    revision: 1,
    deltas: 4,
    repeats: 0,
    lateHits: 0,
    overlaps: [],
  })
  expect(window.sink.attempts).toEqual({
    openWindow: 1,
    writeWindow: 1,
    stagePiece: 0,
    recordClosed: 0,
    recordExceptions: 0,
  })
})

test('hits of unknown country are written as such, once, and the summary says what to do', async () => {
  const window = await server.newWindow()
  const unlocated = { ...newDelta(0, 0, 3), unlocated: 3 }
  const handle = await window.send(unlocated, newDelta(0, 4, 9), unlocated)
  expect(await handle.query(windowProgress)).toMatchObject({ unlocated: 3 })
  await handle.signal(closeWindow)
  const { summary } = await handle.result()
  expect(window.sink.writes).toMatchObject([{ hits: 10, unlocated: 3 }])
  expect(summary).toContain('; 3 hits are under ?? because their lookup failed: replay the window.')
})

test('a repeated delta is dropped; an overlapping one is reported and not counted', async () => {
  const window = await server.newWindow()
  const handle = await window.send(newDelta(0, 0, 3), newDelta(1, 0, 1))
  await handle.signal(addDeltas, [newDelta(0, 0, 3)])
  await handle.signal(addDeltas, [newDelta(0, 2, 5), newDelta(1, 0, 1), newDelta(0, 4, 6)])
  await handle.signal(closeWindow)
  expect(await handle.result()).toMatchObject({
    hits: 9,
    deltas: 3,
    repeats: 2,
    overlaps: [{ partition: 0, first: 2, last: 5 }],
  })
  expect(window.sink.writes.map(({ hits }) => hits)).toEqual([9])
})

test('a window that is closed in Postgres is not written: every delta is recorded as late or a repeat', async () => {
  const window = await server.newWindow()
  window.sink.closedBefore(window.start, 3, [{ partition: 0, from: 0, basis: null, last: 9 }])
  const sent = [newDelta(0, 4, 9), newDelta(0, 10, 12), newDelta(1, 0, 1)]
  const handle = await window.send(...sent)
  expect(await handle.result()).toEqual({
    summary: `${window.name}: was closed before, as revision 3; 5 hits came after it had closed and were counted as late.`,
    hits: 0,
    groups: 0,
    otherHits: 0,
    revision: 3,
    deltas: 0,
    repeats: 1,
    lateHits: 5,
    overlaps: [],
  })
  expect(window.sink.calls.flat()).toEqual(sent)
  expect(window.sink.late).toEqual(sent.slice(1))
  expect(window.sink.attempts.writeWindow).toBe(0)
})

test('a delta that overlaps the counts of a closed window is reported and not recorded', async () => {
  const window = await server.newWindow()
  window.sink.closedBefore(window.start, 1, [{ partition: 0, from: 0, basis: null, last: 9 }])
  const handle = await window.send(newDelta(0, 8, 12))
  expect((await handle.result()).overlaps).toEqual([{ partition: 0, first: 8, last: 12 }])
  expect(window.sink.late).toEqual([])
})

test('a window publishes, corrects with higher revisions, and closes when both clock and ledger allow it', async () => {
  const window = await server.newWindow({ allowedLateness: 30 * MINUTE })
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(publishWindow)
  await untilHandled(handle, ({ name }) => name === 'publish')
  expect(window.sink.writes).toEqual([])
  await server.skipTo(window.due + 1_000)
  await until(() => window.sink.writes.length === 1)
  await until(async () => (await handle.query(windowProgress)).state === 'published')

  // Two late deltas make one correction.
  await window.send(newDelta(0, 4, 5))
  await window.send(newDelta(1, 0, 0), newDelta(0, 4, 5))
  await server.skipTo(window.due + MINUTE)
  await until(() => window.sink.writes.length === 2)
  // The ledger allows it to close, the clock does not yet.
  await handle.signal(closeWindow)
  await untilHandled(handle, ({ name }) => name === 'close')
  await window.send(newDelta(1, 1, 9))
  await server.skipTo(window.due + 2 * MINUTE)
  await until(() => window.sink.writes.length === 3)
  await server.skipTo(window.due + 29 * MINUTE)
  expect((await handle.describe()).status.name).toBe('RUNNING')

  expect(await handle.result()).toMatchObject({ hits: 16, revision: 3, deltas: 4, repeats: 1, lateHits: 0 })
  const written = window.sink.writes.map(({ revision, status, hits }) => ({ revision, status, hits }))
  expect(written).toEqual([
    { revision: 1, status: 'published', hits: 4 },
    { revision: 2, status: 'published', hits: 7 },
    { revision: 3, status: 'published', hits: 16 },
  ])
  // The last write only closed revision 3.
  expect(window.sink.closed).toEqual([3])
  const closed = (await historyOf(handle)).filter(isWrite).at(-1)!
  expect(closed.at).toBeGreaterThanOrEqual(window.due + 30 * MINUTE)
}, 180_000)

test('a window of a backlog that gets both signals at once is written once', async () => {
  const window = await server.newWindow({ allowedLateness: MINUTE }, -60)
  let held = true
  window.sink.before.openWindow = () => {
    if (held) throw new Error('Postgres is down')
  }
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(publishWindow)
  await handle.signal(closeWindow)
  await untilHandled(handle, ({ name }) => name === 'close')
  held = false
  expect(await handle.result()).toMatchObject({ hits: 4, revision: 1 })
  expect(window.sink.writes.map(({ status }) => status)).toEqual(['closed'])
}, 180_000)
