import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { ApplicationFailure } from '@temporalio/common'
import { addDeltas, closeWindow, retry, windowProgress } from '../../src/contract/messages'
import { until } from '../support/until'
import { MINUTE, newDelta, quietRuntime, untilHandled } from './support'
import { SkippingServer, type TestWindow } from './window-support'

/** The query with which the Web UI reads a workflow's details. */
const METADATA = '__temporal_workflow_metadata'

let server: SkippingServer

beforeAll(async () => {
  quietRuntime()
  server = await SkippingServer.start()
}, 120_000)

afterAll(() => server?.stop())

test('a failed write is retried until it succeeds', async () => {
  const window = await server.newWindow()
  window.sink.before.writeWindow = attempt => {
    if (attempt <= 5) throw new Error('Postgres is down')
  }
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(closeWindow)
  expect(await handle.result()).toMatchObject({ hits: 4, lateHits: 0, revision: 1 })
  expect(window.sink.attempts.writeWindow).toBe(6)
  expect(window.sink.writes.map(({ hits }) => hits)).toEqual([4])
})

const refusesFor = (window: TestWindow, step: 'openWindow' | 'writeWindow') => {
  const refusal = { fixed: false }
  window.sink.before[step] = () => {
    if (!refusal.fixed) throw ApplicationFailure.nonRetryable('The schema is missing.')
  }
  return refusal
}

test.each(['openWindow', 'writeWindow'] as const)(
  '%s that fails permanently is not repeated; after the fix one retry signal closes the window',
  async step => {
    const window = await server.newWindow()
    const refusal = refusesFor(window, step)
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(closeWindow)
    if (step === 'writeWindow') await server.skipTo(window.due + 1_000)
    await untilHandled(handle, ({ kind }) => kind === 'activity failed')
    expect(window.sink.attempts[step]).toBe(1)
    expect(await handle.query(METADATA)).toMatchObject({
      currentDetails: expect.stringMatching(
        /is stuck[^]*The schema is missing\. Fix that.*`web-traffic retry`/,
      ),
    })
    refusal.fixed = true
    await handle.signal(retry)
    expect(await handle.result()).toMatchObject({ hits: 4, lateHits: 0, revision: 1 })
    expect(window.sink.attempts[step]).toBe(2)
    expect(window.sink.writes.map(({ hits }) => hits)).toEqual([4])
  },
)

test('a permanently failed step is retried automatically at growing intervals', async () => {
  const window = await server.newWindow()
  const tries: number[] = []
  window.sink.before.writeWindow = async attempt => {
    tries.push(await server.now())
    if (attempt < 4) throw ApplicationFailure.nonRetryable('The schema is missing.')
  }
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(closeWindow)
  expect(await handle.result()).toMatchObject({ hits: 4, revision: 1 })
  const minutes = tries.slice(1).map((time, i) => Math.round((time - tries[i]!) / MINUTE))
  expect(minutes).toEqual([1, 2, 4])
})

test('deltas wait unmerged until Postgres has answered, and none is lost', async () => {
  const window = await server.newWindow()
  let down = true
  window.sink.before.openWindow = () => {
    if (down) throw new Error('Postgres is down')
  }
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(addDeltas, [newDelta(0, 4, 5)])
  await handle.signal(closeWindow)
  await until(() => window.sink.attempts.openWindow >= 2)
  await untilHandled(handle, ({ name }) => name === 'close')
  const progress = await handle.query(windowProgress)
  expect(progress).toMatchObject({ state: 'opening', hits: 6, deltas: 2, groups: 0, revision: 0 })
  down = false
  expect(await handle.result()).toMatchObject({ hits: 6, deltas: 2, lateHits: 0 })
  expect(window.sink.writes.map(({ hits }) => hits)).toEqual([6])
})

test('deltas that arrive during the write are recorded after it, and none is lost', async () => {
  const window = await server.newWindow()
  let letFail!: (error: Error) => void
  let letWrite!: () => void
  const gates = [
    new Promise<void>((_, reject) => (letFail = reject)),
    new Promise<void>(resolve => (letWrite = resolve)),
  ]
  window.sink.before.writeWindow = attempt => gates[attempt - 1]
  const handle = await window.send(newDelta(0, 0, 3))
  await handle.signal(closeWindow)
  const result = handle.result()
  await until(() => window.sink.attempts.writeWindow === 1)
  await handle.signal(addDeltas, [newDelta(0, 4, 5)])
  letFail(new Error('Postgres is down'))
  await until(() => window.sink.attempts.writeWindow === 2)
  await handle.signal(addDeltas, [newDelta(0, 4, 5), newDelta(1, 0, 2)])
  expect(await handle.query(windowProgress)).toMatchObject({ state: 'closing', hits: 4 })
  expect(window.sink.attempts.recordClosed).toBe(0)
  letWrite()
  expect(await result).toMatchObject({
    summary: `${window.name}: 4 hits in 1 group, written as revision 1; 5 hits came after it had closed and were counted as late.`,
    hits: 4,
    lateHits: 5,
    repeats: 1,
  })
  expect(window.sink.writes.map(({ hits }) => hits)).toEqual([4])
  expect(window.sink.late).toEqual([newDelta(0, 4, 5), newDelta(1, 0, 2)])
})
