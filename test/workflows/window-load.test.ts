import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { WorkflowClient } from '@temporalio/client'
import type { PayloadCodec } from '@temporalio/common'
import { closeWindow } from '../../src/contract/messages'
import type { WindowSummary } from '../../src/contract/workflows'
import { groups } from '../../src/core/counts/columnar'
import type { Delta } from '../../src/core/window/protocol'
import { windowStart } from '../../src/core/window/tumbling-window'
import type { window as windowWorkflow } from '../../src/workflows/window'
import { historyOf, MINUTE, newDelta, quietRuntime } from './support'
import { RealServer, TestWindow, type Handle } from './window-support'

let server: RealServer
let client: WorkflowClient

/** Cause of a task that failed because events arrived meanwhile (temporal.api.enums.v1.WorkflowTaskFailedCause). */
const UNHANDLED_COMMAND = '1'

/** Called when a window has decided to end, before the server learns of it. */
let atCompletion: (() => Promise<void>) | undefined

const holdsCompletion: PayloadCodec = {
  async encode(payloads) {
    const ends = payloads.some(({ data }) => data && new TextDecoder().decode(data).includes('"lateHits":'))
    if (ends) await atCompletion?.()
    return payloads
  },
  decode: payloads => Promise.resolve(payloads),
}

beforeAll(async () => {
  quietRuntime()
  server = await RealServer.connect({ dataConverter: { payloadCodecs: [holdsCompletion] } })
  client = server.client
}, 180_000)

afterAll(() => server?.disconnect())

test('a window handles the signals of 25 pollers at once and counts each delta once', async () => {
  const POLLERS = 25
  const SIGNALS = 20
  const window = new TestWindow(client, windowStart(Date.now(), 5 * MINUTE) - 120 * MINUTE)
  const began = Date.now()
  const poll = async (poller: number) => {
    let handle!: Handle
    for (let n = 0; n < SIGNALS; n++) {
      // Four partitions per message; every fifth is repeated, as after a lost answer.
      const deltas = [0, 1, 2, 3].map(i =>
        newDelta(4 * poller + i, 10 * n, 10 * n + 9, { host: `h${poller}` }),
      )
      handle = await window.send(...deltas)
      if (n % 5 === 0) await window.send(...deltas)
    }
    return handle
  }
  const [handle] = await Promise.all(Array.from({ length: POLLERS }, (_, poller) => poll(poller)))
  // A window sustains five signals a second, but must handle bursts, such as at its end.
  const perSecond = (POLLERS * (SIGNALS + SIGNALS / 5)) / ((Date.now() - began) / 1_000)
  expect(perSecond).toBeGreaterThan(25)
  await handle!.signal(closeWindow)
  const result = await window.latest.result()
  expect(result).toMatchObject({
    hits: POLLERS * 4 * SIGNALS * 10,
    deltas: POLLERS * 4 * SIGNALS,
    repeats: (POLLERS * 4 * SIGNALS) / 5,
    lateHits: 0,
  })
}, 180_000)

test('a delta that arrives during completion is counted', async () => {
  const window = new TestWindow(client, windowStart(Date.now(), 5 * MINUTE) - 60 * MINUTE)
  const runs = new Set<string>()
  const sent: Delta[] = []
  const send = async (delta: Delta) => {
    sent.push(delta)
    const handle = await window.send(delta)
    runs.add(handle.signaledRunId)
    return handle
  }
  // One partition each, in order with some repeats, as pollers send.
  const burst = (from: number) =>
    Promise.all(
      [1, 2, 3].map(async partition => {
        for (let offset = from; offset < from + 4; offset++) {
          const delta = newDelta(partition, offset, offset, { host: `${partition}-${offset}` })
          await send(delta)
          if (offset % 2 === 0) await send(delta)
        }
      }),
    )
  let completions = 0
  let racing: Promise<unknown> | undefined
  atCompletion = async () => {
    completions++
    // The first two completions wait for a burst; the third races one.
    if (completions <= 2) await burst(completions * 4)
    else racing ??= burst(20)
  }
  const first = await send(newDelta(0, 0, 0, { host: '0-0' }))
  await first.signal(closeWindow)
  await first.result()
  await racing
  await send(newDelta(0, 1, 1, { host: '0-1' }))

  atCompletion = undefined
  const handles = [...runs].map(runId => client.getHandle<typeof windowWorkflow>(first.workflowId, runId))
  const results = await Promise.all(handles.map(handle => handle.result()))
  const total = (count: (result: WindowSummary) => number) =>
    results.reduce((sum, result) => sum + count(result), 0)
  const failed = (await historyOf(handles[0]!)).filter(({ kind }) => kind === 'task failed')
  expect(failed.map(({ name }) => name)).toContain(UNHANDLED_COMMAND)
  const counted = [
    ...window.sink.writes.flatMap(({ counts }) => [...groups(counts)]),
    ...window.sink.late.flatMap(delta => [...groups(delta)]),
  ]
  const distinct = [...new Set(sent.map(({ hosts }) => hosts[0]))].sort()
  expect(counted.map(({ host }) => host).sort()).toEqual(distinct)
  expect(window.sink.writes.map(({ hits }) => hits)).toEqual([1])
  expect(total(({ hits, lateHits }) => hits + lateHits)).toBe(distinct.length)
  expect(total(({ repeats }) => repeats)).toBe(sent.length - distinct.length)
})
