import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Connection, type WorkflowHandle } from '@temporalio/client'
import type { PayloadCodec } from '@temporalio/common'
import { Worker } from '@temporalio/worker'
import { expect, test } from '@jest/globals'
import { pollerId, windowId } from '../../src/contract/ids'
import { closeWindow, ingestStatus, scale } from '../../src/contract/messages'
import { Ledger, type LedgerState } from '../../src/core/window/ledger'
import type { Timed } from '../../src/core/window/protocol'
import type { ingest } from '../../src/workflows/ingest'
import type { poller } from '../../src/workflows/poller'
import { grpcError } from '../activities/support'
import { until } from '../support/until'
import {
  claimOf,
  client,
  done,
  flushOf,
  nativeConnection,
  Pipeline,
  setUpIngest,
  taskQueue,
  W0,
  W1,
  workflowBundle,
} from './ingest-support'
import { historyOf, MINUTE, newDelta } from './support'

setUpIngest()

/** An answer without its time, which must be that of the ledger's task: this machine has the server's clock. */
async function answered<Answer extends object>(call: () => Promise<Timed<Answer>>) {
  const sent = Date.now()
  const { now, ...answer } = await call()
  expect(now).toBeGreaterThanOrEqual(sent)
  expect(now).toBeLessThanOrEqual(Date.now())
  return answer
}

test('claims and flushes get the answers of the ledger and its time, and an old epoch is refused', async () => {
  const { port, settings, handle } = await Pipeline.start()
  const ledger = new Ledger(settings)
  const claim = claimOf(2, 0, 1)
  expect(await answered(() => port.claim(claim))).toEqual(ledger.claim(claim))
  const announce = { from: 0, to: 10, windows: [W0] }
  const flushes = [
    flushOf(2, { partition: 0, epoch: 1, announce }, { partition: 1, epoch: 1, announce }),
    flushOf(2, { partition: 0, epoch: 1, done: done(10, W0 + 1) }),
  ]
  for (const flush of flushes)
    expect(await answered(() => port.flush(flush))).toEqual(ledger.flush(flush, Date.now()))
  const tomorrow = Date.now() + 24 * 60 * MINUTE
  const ahead = flushOf(2, { partition: 0, epoch: 1, idle: { position: 10, at: tomorrow } })
  // The ledger caps the claim with the time that it answers.
  const { now = NaN, ...idle } = await port.flush(ahead)
  expect(idle).toEqual(ledger.flush(ahead, now))

  const again = claimOf(2, 1)
  const answer = await answered(() => port.claim(again))
  expect(answer).toEqual(ledger.claim(again))
  expect(answer.partitions).toEqual([{ partition: 1, epoch: 2, position: 0, basis: null, announcedTo: 10 }])
  const old = flushOf(2, { partition: 1, epoch: 1, done: done(10, W0) })
  expect(await answered(() => port.flush(old))).toEqual({ refused: [1], pollers: 1 })
  ledger.flush(old, Date.now())
  const { ledger: state } = await handle.query(ingestStatus)
  expect(state).toEqual(ledger.snapshot())
  expect(await port.awaited([0, 1], Date.now())).toEqual(ledger.awaited([0, 1], Date.now()))
})

test('an update whose answer is lost is retried under its id and takes effect once', async () => {
  const pipeline = await Pipeline.start()
  const losing = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS! })
  const ids: string[] = []
  const service = losing.workflowService
  const update = service.updateWorkflowExecution.bind(service)
  service.updateWorkflowExecution = (async (request: Parameters<typeof update>[0]) => {
    const response = await update(request)
    const id = request.request?.meta?.updateId ?? ''
    ids.push(id)
    if (ids.filter(known => known === id).length > 2) return response
    throw grpcError('UNAVAILABLE', 'the answer was lost')
  }) as typeof update
  try {
    const port = pipeline.portTo(new Client({ connection: losing }))
    // Handled twice, the claim would return epoch 2, and the flush would count twice.
    expect((await port.claim(claimOf(1, 0))).partitions).toMatchObject([{ partition: 0, epoch: 1 }])
    const announce = (from: number) => ({ from, to: from + 10, windows: [W0] })
    await port.flush(flushOf(1, { partition: 0, epoch: 1, announce: announce(0) }))
    await port.flush(flushOf(1, { partition: 0, epoch: 1, done: done(10, W0), announce: announce(10) }))
  } finally {
    await losing.close()
  }
  expect(ids.map(id => ids.indexOf(id))).toEqual([0, 0, 0, 3, 3, 3, 6, 6, 6])
  const { ledger } = await pipeline.status()
  expect(ledger.partitions[0]).toMatchObject({
    epoch: 1,
    position: 10,
    announcedTo: 20,
    totals: { records: 10, hits: 10 },
  })
})

test('a window gets the close signal once the watermark of every partition has passed it, and not before', async () => {
  const { port, handle, settings, sink } = await Pipeline.start()
  const announce = { from: 0, to: 10, windows: [W0] }
  const entry = (partition: number) => ({ partition, epoch: 1 })
  const closes = async () => (await historyOf(handle)).filter(({ kind }) => kind === 'signals other')
  // The third partition is never claimed at first.
  await port.claim(claimOf(3, 0, 1))
  await port.flush(flushOf(3, { ...entry(0), announce }, { ...entry(1), announce }))
  const windowHandle = client.workflow.getHandle(windowId(settings.group, W0))
  const sized = [0, 1].map(partition => ({ delta: newDelta(partition, 0, 9), bytes: 100 }))
  await port.send(new Map([[W0, sized]]))

  await port.flush(flushOf(3, { ...entry(0), done: done(10, W1 + MINUTE) }))
  await port.flush(flushOf(3, { ...entry(1), done: done(10, W1 + MINUTE - 1) }))
  expect(await closes()).toEqual([])
  await port.flush(flushOf(3, { ...entry(1), announce: { from: 10, to: 11, windows: [] } }))
  await port.flush(flushOf(3, { ...entry(1), done: done(11, W1 + MINUTE) }))
  await port.claim(claimOf(3, 2))
  expect(await closes()).toEqual([])
  // The ledger gave each answer above after it had checked for windows to close.
  expect((await pipelineWindows(handle)).openWindows).toEqual([W0])
  expect(sink.writes).toEqual([])

  await port.flush(flushOf(3, { ...entry(2), announce: { from: 0, to: 1, windows: [] } }))
  await port.flush(flushOf(3, { ...entry(2), done: done(1, W1 + MINUTE, 1) }))
  expect(await windowHandle.result()).toMatchObject({ hits: 20 })
  expect((await closes()).map(({ name }) => name)).toEqual([closeWindow.name])
  expect((await historyOf(windowHandle)).filter(({ name }) => name === closeWindow.name)).toHaveLength(1)
  expect(await pipelineWindows(handle)).toEqual({ openWindows: [], closed: 1 })
})

async function pipelineWindows(handle: WorkflowHandle<typeof ingest>) {
  const { openWindows, closed } = (await handle.query(ingestStatus)).ledger
  return { openWindows, closed }
}

test('pollers drain when scaled to zero, and run again when scaled up', async () => {
  const pipeline = await Pipeline.start(2)
  const { handle } = pipeline
  await until(() => pipeline.polling().length === 2)
  expect(pipeline.polling()).toEqual([1, 2])
  expect(await pipeline.status()).toMatchObject({ pollers: 2, running: [1, 2] })

  await handle.executeUpdate(scale, { args: [1] })
  await until(async () => (await pipeline.status()).running.length === 1)
  expect(pipeline.polling()).toEqual([1])
  await handle.executeUpdate(scale, { args: [0] })
  await until(async () => (await pipeline.status()).running.length === 0)
  expect(pipeline.polling()).toEqual([])
  expect(await pipeline.status()).toMatchObject({ pollers: 0, running: [] })

  await handle.executeUpdate(scale, { args: [3] })
  await until(() => pipeline.polling().length === 3)
  expect(pipeline.polling()).toEqual([1, 2, 3])
  expect(await pipeline.status()).toMatchObject({ pollers: 3, running: [1, 2, 3] })
})

test('a poller that is ending is started again if it is wanted again', async () => {
  // The poller has signalled its end, but the server does not know of it yet.
  let letEnd!: () => void
  const mayEnd = new Promise<void>(resolve => (letEnd = resolve))
  const holdsEnd: PayloadCodec = {
    async encode(payloads) {
      const isVoid = payloads.some(
        ({ metadata }) => new TextDecoder().decode(metadata?.encoding ?? undefined) === 'binary/null',
      )
      if (isVoid) await mayEnd
      return payloads
    },
    decode: payloads => Promise.resolve(payloads),
  }
  const pipeline = await Pipeline.start()
  const { settings, handle } = pipeline
  const slowQueue = `${taskQueue}/slow`
  const slow = await Worker.create({
    connection: nativeConnection,
    taskQueue: slowQueue,
    workflowBundle,
    dataConverter: { payloadCodecs: [holdsEnd] },
  })
  await slow.runUntil(async () => {
    await client.workflow.start<typeof poller>('poller', {
      workflowId: pollerId(settings.group, 1),
      taskQueue: slowQueue,
      args: [{ settings, poller: 1, taskQueue }],
    })
    await until(() => pipeline.polling().length === 1)
    await handle.executeUpdate(scale, { args: [1] })
    await until(async () => (await pipeline.status()).running.length === 1)
    await handle.executeUpdate(scale, { args: [0] })
    await until(async () => (await pipeline.status()).running.length === 0)
    await handle.executeUpdate(scale, { args: [1] })
    await until(
      async () => (await historyOf(handle)).filter(({ kind }) => kind === 'child refused').length > 1,
    )
    letEnd()
    await until(() => pipeline.polling().length === 1)
  })
})

test('stopping the pipeline does not wait for a terminated poller', async () => {
  const pipeline = await Pipeline.start(1)
  await until(() => pipeline.polling().length === 1)
  await client.workflow.getHandle(pollerId(pipeline.settings.group, 1)).terminate()
  await until(() => pipeline.polling().length === 0)
  await pipeline.handle.executeUpdate(scale, { args: [0] })
  await until(async () => (await pipeline.status()).running.length === 0)
})

/** Checkpoints depend on the order in which the ledger handled the callers' messages. */
function withoutCheckpoints({ checkpoints, checkpointOf, ...state }: LedgerState): object {
  expect([checkpoints?.length, checkpointOf?.length]).toEqual([expect.any(Number), expect.any(Number)])
  return state
}

test('after five hundred messages the ledger continues as new with the same state, while callers call', async () => {
  const pipeline = await Pipeline.start(1)
  const { settings, port } = pipeline
  const model = new Ledger(settings)
  const firstRun = await pipeline.runId()
  let changed = false
  const watch = (async () => {
    while (!changed) {
      await sleep(200)
      changed = (await pipeline.runId()) !== firstRun
    }
  })()
  let messages = 0
  const call = async (partition: number) => {
    const claim = claimOf(4, partition)
    await port.claim(claim)
    model.claim(claim)
    for (let from = 0, left = 20; left > 0; from += 10) {
      if (changed) left--
      const window = W0 + Math.floor(from / 500) * 5 * MINUTE
      const request = flushOf(4, {
        partition,
        epoch: 1,
        ...(from > 0 && { done: done(from, W0 + from, partition + 1) }),
        announce: { from, to: from + 10, windows: [window] },
      })
      expect(await port.flush(request)).toMatchObject({ refused: [], pollers: 1 })
      model.flush(request, Date.now())
      messages++
    }
  }
  await Promise.all([0, 1, 2, 3].map(call))
  await watch
  expect(messages).toBeGreaterThan(500)
  const { ledger, ...status } = await pipeline.status()
  expect(withoutCheckpoints(ledger)).toEqual(withoutCheckpoints(model.snapshot()))
  expect(status).toMatchObject({ settings, pollers: 1, running: [1] })
  // The new run finds the poller running and does not start it again.
  expect(pipeline.polling()).toEqual([1])
}, 120_000)

test('more windows than fit in one history get their close signals from several runs', async () => {
  const pipeline = await Pipeline.start()
  const { port, handle, settings } = pipeline
  const windows = Array.from({ length: 3_500 }, (_, i) => W0 + i * 5 * MINUTE)
  await port.claim(claimOf(1, 0))
  await port.flush(flushOf(1, { partition: 0, epoch: 1, announce: { from: 0, to: 10, windows } }))
  const first = await pipeline.runId()
  const beyond = windows.at(-1)! + settings.windowSize + settings.watermarkDelay
  await port.flush(flushOf(1, { partition: 0, epoch: 1, done: done(10, beyond) }))
  await until(async () => (await pipeline.status()).ledger.openWindows.length === 0, 100_000)
  expect((await pipeline.status()).ledger).toMatchObject({ closed: windows.length })
  expect(await pipeline.runId()).not.toBe(first)
  const { events } = await client.workflow.getHandle(handle.workflowId, first).fetchHistory()
  // Each signal adds two events.
  expect(events!.length).toBeLessThan(2 * windows.length)
}, 120_000)
