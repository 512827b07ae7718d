import type { WorkflowClient, WorkflowHandle } from '@temporalio/client'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { ingestId } from '../../src/contract/ids'
import { addDeltas, closeWindow, retry, settled, windowProgress } from '../../src/contract/messages'
import type { Delta, Settlement, ToldBook } from '../../src/core/window/protocol'
import { windowStart } from '../../src/core/window/tumbling-window'
import type { window as windowWorkflow } from '../../src/workflows/window'
import { until } from '../support/until'
import { countsOf, MINUTE, newDelta, quietRuntime } from './support'
import { RealServer, TestWindow, type Handle } from './window-support'

/** A window that ended long ago. */
const W0 = windowStart(Date.UTC(2026, 0, 1, 12), 5 * MINUTE)

let server: RealServer
let client: WorkflowClient

beforeAll(async () => {
  quietRuntime()
  server = await RealServer.connect()
  client = server.client
}, 120_000)

afterAll(() => server?.disconnect())

/** A pipeline of one window. Its ledger is a workflow that no worker runs, so that it only collects signals. */
class Books {
  private readonly window = new TestWindow(client, W0)
  readonly sink = this.window.sink
  private readonly ledgerId = ingestId(this.window.settings.group)

  async open(): Promise<this> {
    await client.start('ingest', { workflowId: this.ledgerId, taskQueue: 'nobody', args: [] })
    return this
  }

  send(...deltas: Delta[]): Promise<Handle> {
    return this.window.send(...deltas)
  }

  /** Starts a run as the ledger does if it finds none. */
  startForBook(book: ToldBook): Promise<WorkflowHandle<typeof windowWorkflow>> {
    return this.window.startFor([book])
  }

  /** The window's answers to the ledger. */
  async settlements(): Promise<Settlement[]> {
    const { events } = await client.getHandle(this.ledgerId).fetchHistory()
    return (events ?? []).flatMap(({ workflowExecutionSignaledEventAttributes: signal }) =>
      signal?.signalName === settled.name
        ? [JSON.parse(new TextDecoder().decode(signal.input!.payloads![0]!.data)) as Settlement]
        : [],
    )
  }

  async close(): Promise<void> {
    for (const id of [this.ledgerId, this.window.id])
      await client
        .getHandle(id)
        .terminate()
        .catch(() => undefined)
  }
}

const rejecting = (delta: Delta, records: number): Delta => ({
  ...delta,
  exceptions: {
    records,
    late: [],
    rejected: { invalid_json: records },
    samples: [[delta.first, 'invalid_json']],
  },
})

/** Three of them fit into the window. */
const large = (n: number): Delta => ({
  ...newDelta(0, n * 10, n * 10 + 5),
  referrers: [`${n}${'x'.repeat(300_000)}`],
})

test('a window answers the ledger with the balance of its book', async () => {
  const books = await new Books().open()
  const handle = await books.send(newDelta(0, 0, 9), rejecting(newDelta(1, 0, 4), 3))
  await handle.signal(closeWindow, [{ book: 7, hits: 15, exceptions: 3 }])
  expect(await handle.result()).toMatchObject({ hits: 15 })
  expect(books.sink.exceptions.map(({ rejected }) => rejected)).toEqual([{ invalid_json: 3 }])
  expect(await books.settlements()).toEqual([
    {
      start: W0,
      books: [7],
      balance: { told: { hits: 15, exceptions: 3 }, accounted: { hits: 15, exceptions: 3 } },
    },
  ])
  await books.close()
})

test('an incomplete window writes nothing, says how to repair it, and ends once it is repaired', async () => {
  const books = await new Books().open()
  const handle = await books.send(newDelta(0, 50, 59))
  await handle.signal(closeWindow, [{ book: 1, hits: 60, exceptions: 0 }])
  await until(async () => (await handle.query(windowProgress)).stuck !== undefined)
  const { state, stuck } = await handle.query(windowProgress)
  expect(state).toBe('closing')
  expect(stuck?.reason).toContain('announced 60 hits')
  expect(stuck?.reason).toContain('web-traffic repair 2026-01-01T12:00:00Z')
  expect(books.sink.writes).toEqual([])
  expect(await books.settlements()).toEqual([
    {
      start: W0,
      books: [1],
      balance: { told: { hits: 60, exceptions: 0 }, accounted: { hits: 10, exceptions: 0 } },
    },
  ])
  // Later deltas are kept, neither merged nor lost.
  await handle.signal(addDeltas, [newDelta(0, 60, 61)])
  await handle.signal(retry)
  await until(() => books.sink.attempts.openWindow > 1)
  expect((await handle.describe()).status.name).toBe('RUNNING')

  books.sink.closedBefore(W0, 1, [{ partition: 0, from: 0, basis: null, last: 59 }])
  await handle.signal(retry)
  expect(await handle.result()).toMatchObject({ revision: 1, lateHits: 2 })
  expect(countsOf(...books.sink.late)).toEqual({ 'a.example  DE': 2 })
  expect((await books.settlements()).map(({ books }) => books)).toEqual([[1], [1]])
  await books.close()
})

test('an incomplete window with staged pieces ends once it is repaired, which drops them', async () => {
  const books = await new Books().open()
  const handle = await books.send(large(0), large(1), large(2), large(3))
  await until(() => books.sink.attempts.stagePiece > 0)
  await handle.signal(closeWindow, [{ book: 1, hits: 60, exceptions: 0 }])
  await until(async () => (await handle.query(windowProgress)).stuck !== undefined)
  books.sink.closedBefore(W0, 1, [{ partition: 0, from: 0, basis: null, last: 59 }])
  await handle.signal(retry)
  expect(await handle.result()).toMatchObject({ revision: 1, lateHits: 0 })
  await books.close()
}, 60_000)

test('a run that the ledger starts for a book finds the window closed, and answers', async () => {
  const books = await new Books().open()
  books.sink.closedBefore(W0, 1, [{ partition: 0, from: 0, basis: null, last: 9 }])
  const handle = await books.startForBook({ book: 4, hits: 10, exceptions: 0 })
  expect(await handle.result()).toMatchObject({ hits: 0, revision: 1 })
  expect(await books.settlements()).toMatchObject([{ books: [4] }])
  await books.close()
})

test('a run that the ledger starts for a book without any delta answers that it is incomplete', async () => {
  const books = await new Books().open()
  const handle = await books.startForBook({ book: 4, hits: 10, exceptions: 2 })
  await until(async () => (await handle.query(windowProgress)).stuck !== undefined)
  expect(await books.settlements()).toMatchObject([
    { books: [4], balance: { told: { hits: 10, exceptions: 2 }, accounted: { hits: 0, exceptions: 0 } } },
  ])
  expect(books.sink.writes).toEqual([])
  await books.close()
})

test('a cancel request changes nothing', async () => {
  const books = await new Books().open()
  const handle = await books.send(newDelta(0, 0, 9))
  await until(async () => (await handle.query(windowProgress)).state === 'open')
  await handle.cancel()
  await books.send(newDelta(0, 10, 19))
  await handle.signal(closeWindow, [{ book: 1, hits: 20, exceptions: 0 }])
  expect(await handle.result()).toMatchObject({ hits: 20 })
  await books.close()
})

test('a window stages the counts that do not fit, one piece at a time', async () => {
  const books = await new Books().open()
  let down = true
  books.sink.before.stagePiece = () => {
    if (down) throw new Error('Postgres is down')
  }
  let handle = await books.send(large(0), large(1))
  for (let n = 2; n < 10; n++) handle = await books.send(large(n))
  await until(() => books.sink.attempts.stagePiece > 1)
  // Three fit; three more are merged while the first piece is being staged.
  await until(async () => (await handle.query(windowProgress)).deltas === 6)
  expect(await handle.query(windowProgress)).toMatchObject({ pieces: 1, deltas: 6, hits: 36 })
  down = false
  await handle.signal(closeWindow, [{ book: 1, hits: 60, exceptions: 0 }])
  expect(await handle.result()).toMatchObject({ hits: 60 })
  expect(Object.keys(books.sink.totals)).toHaveLength(10)
  await books.close()
}, 60_000)
