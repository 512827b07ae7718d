import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { ApplicationFailure } from '@temporalio/common'
import type { TestWorkflowEnvironment } from '@temporalio/testing'
import { closeWindow, publishWindow, retry, windowProgress } from '../../src/contract/messages'
import type { PipelineSettings } from '../../src/core/settings'
import { windowStart } from '../../src/core/window/tumbling-window'
import { rowsOf } from '../core/support'
import { until } from '../support/until'
import { createEarlyServer, MINUTE, newDelta, quietRuntime } from './support'
import { startWorker, TestWindow, type Handle } from './window-support'

/* On a server that suggests continuing as new early. */

let environment: TestWorkflowEnvironment
let stopWorker: () => Promise<void>

beforeAll(async () => {
  quietRuntime()
  environment = await createEarlyServer()
  stopWorker = await startWorker(environment.nativeConnection)
}, 120_000)

afterAll(async () => {
  await stopWorker?.()
  await environment?.teardown()
})

const overWindow = (fields: Partial<PipelineSettings> = {}) =>
  new TestWindow(environment.client.workflow, windowStart(Date.now(), 5 * MINUTE) - 60 * MINUTE, fields)

/** Four senders, each in order with some repeats, as pollers send; resolves to the runs that received signals. */
async function sendInParallel(window: TestWindow, each: number): Promise<Set<string>> {
  const runs = new Set<string>()
  const sendAll = async (partition: number) => {
    for (let offset = 0; offset < each; offset++) {
      const delta = newDelta(partition, offset, offset, { host: `h${partition}-${offset % 7}` })
      runs.add((await window.send(delta)).signaledRunId)
      if (offset % 5 === 0) runs.add((await window.send(delta)).signaledRunId)
    }
  }
  await Promise.all([0, 1, 2, 3].map(sendAll))
  return runs
}

const countTotals = ({ sink }: TestWindow) => Object.values(sink.totals).reduce((sum, hits) => sum + hits, 0)

test('a window goes through many runs under load and counts each signal once', async () => {
  const window = overWindow()
  const runs = await sendInParallel(window, 100)
  expect(runs.size).toBeGreaterThan(5)
  const handle = window.latest
  await handle.signal(closeWindow)
  expect(await handle.result()).toMatchObject({
    hits: 400,
    deltas: 400,
    repeats: 80,
    overlaps: [],
    lateHits: 0,
  })
  expect(window.sink.writes.map(({ hits }) => hits)).toEqual([400])
  expect(Object.keys(window.sink.totals)).toHaveLength(28)
  // Later runs know the answer.
  expect(window.sink.attempts.openWindow).toBe(1)
}, 180_000)

test('while Postgres is down it goes through many runs with its deltas unmerged', async () => {
  const window = overWindow()
  let down = true
  window.sink.before.openWindow = () => {
    if (down) throw new Error('Postgres is down')
  }
  const runs = await sendInParallel(window, 60)
  expect(runs.size).toBeGreaterThan(3)
  const handle = window.latest
  expect(await handle.query(windowProgress)).toMatchObject({ state: 'opening', hits: 240, groups: 0 })
  down = false
  await handle.signal(closeWindow)
  expect(await handle.result()).toMatchObject({ hits: 240, deltas: 240, repeats: 48, overlaps: [] })
}, 180_000)

test('a published window carries its revision through its runs', async () => {
  const window = overWindow({ allowedLateness: 24 * 60 * MINUTE })
  const first = await window.send(newDelta(9, 0, 0))
  await first.signal(publishWindow)
  await until(() => window.sink.writes.length === 1)
  await sendInParallel(window, 30)
  await until(() => window.sink.writes.at(-1)?.hits === 121, 30_000)
  const latest = window.latest
  await until(async () => (await latest.describe()).runId !== first.signaledRunId)
  await window.send(newDelta(9, 1, 1))
  await until(() => window.sink.writes.at(-1)?.hits === 122, 30_000)
  const revisions = window.sink.writes.map(({ revision }) => revision)
  expect(revisions).toEqual(revisions.map((_, i) => i + 1))
}, 180_000)

test('a published window whose correction fails permanently goes through many runs, and writes it after a retry signal', async () => {
  const window = overWindow({ allowedLateness: 24 * 60 * MINUTE })
  const first = await window.send(newDelta(9, 0, 0))
  await first.signal(publishWindow)
  await until(() => window.sink.writes.length === 1)
  let refused = true
  window.sink.before.writeWindow = () => {
    if (refused) throw ApplicationFailure.nonRetryable('refused')
  }
  const runs = new Set<string>()
  let hits = 1
  while (runs.size < 4) {
    runs.add((await window.send(newDelta(9, hits, hits))).signaledRunId)
    hits++
    await sleep(20)
  }
  expect(window.sink.writes).toHaveLength(1)
  refused = false
  const handle = window.latest
  await handle.signal(retry)
  await until(() => window.sink.writes.at(-1)?.hits === hits, 60_000)
  expect(countTotals(window)).toBe(hits)
  expect(window.sink.writes.at(-1)!.revision).toBeGreaterThan(runs.size)
  await until(async () => (await handle.query(windowProgress)).stuck === undefined)
  expect(await handle.query(windowProgress)).toMatchObject({ state: 'published', hits })
}, 180_000)

test('deltas that arrive while a large window is written are recorded in messages that the server accepts', async () => {
  const window = overWindow()
  let hold = true
  window.sink.before.writeWindow = () => {
    if (hold) throw new Error('Postgres is down')
  }
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(closeWindow)
  await until(() => window.sink.attempts.writeWindow > 0)
  // Each fits a message; together they exceed the server's 2 MB.
  const referrers = Array.from({ length: 1_000 }, (_, i) => `https://r/${i}/${'x'.repeat(700)}`)
  const rows = rowsOf(referrers.flatMap((_, i) => [0, i, 0, 1]))
  for (let n = 1; n <= 4; n++)
    await window.send({ ...newDelta(0, n * 1_000, n * 1_000 + 999), referrers, rows })
  hold = false
  const latest = window.latest
  expect(await latest.result()).toMatchObject({ hits: 4, lateHits: 4_000, repeats: 0 })
  expect(window.sink.calls.map(deltas => deltas.length)).toEqual([1, 1, 1, 1])
}, 180_000)

test('a window larger than one message stages pieces, and its result includes all of them', async () => {
  const window = overWindow()
  const padding = 'x'.repeat(400)
  const expected: Record<string, number> = {}
  let handle!: Handle
  for (let n = 0; n < 8; n++) {
    const referrers = Array.from({ length: 1_000 }, (_, i) => `https://r/${n % 6}/${i}/${padding}`)
    const rows = rowsOf(referrers.flatMap((_, i) => [0, i, 0, 1 + n]))
    const hits = 1_000 * (1 + n)
    const [first, last] = [n * 10_000, n * 10_000 + hits - 1]
    const delta = { ...newDelta(0, first, last, { hits }), referrers, rows }
    for (const referrer of referrers) {
      const key = `a.example ${referrer} DE`
      expected[key] = (expected[key] ?? 0) + 1 + n
    }
    handle = await window.send(delta)
  }
  await handle.signal(closeWindow)
  const result = await window.latest.result()
  expect(result).toMatchObject({ hits: 36_000, deltas: 8 })
  expect(window.sink.attempts.stagePiece).toBeGreaterThanOrEqual(3)
  expect(window.sink.totals).toEqual(expected)
}, 180_000)

test('deltas that pile up while Postgres is down are recorded one by one if the window was closed', async () => {
  const window = overWindow()
  window.sink.closedBefore(window.start, 1, [{ partition: 0, from: 0, basis: null, last: 15 }])
  let down = true
  window.sink.before.openWindow = () => {
    if (down) throw new Error('Postgres is down')
  }
  let handle!: Handle
  for (let n = 0; n < 6; n++) {
    const referrers = [`${n}${'x'.repeat(300_000)}`]
    handle = await window.send({ ...newDelta(0, n * 10, n * 10 + 5), referrers })
  }
  // Three fit; the others stay pending.
  await until(async () => (await handle.query(windowProgress)).deltas === 3)
  down = false
  const result = await window.latest.result()
  // The result already had the first two.
  expect(result).toMatchObject({ hits: 0, repeats: 2, lateHits: 24, revision: 1 })
  expect(window.sink.writes).toEqual([])
}, 180_000)
