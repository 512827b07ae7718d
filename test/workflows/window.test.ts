import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { Connection, WorkflowClient, type WorkflowHandleWithSignaledRunId } from '@temporalio/client'
import { ApplicationFailure, type PayloadCodec } from '@temporalio/common'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { NativeConnection, Worker, type WorkflowBundle } from '@temporalio/worker'
import { findTestServer } from '../../src/dev/cluster/test-server'
import { groups } from '../../src/core/counts/columnar'
import type { Delta } from '../../src/core/window/protocol'
import { windowId } from '../../src/contract/ids'
import type { PipelineSettings } from '../../src/core/settings'
import { formatWindow, windowStart } from '../../src/core/window/tumbling-window'
import { addSearchAttributes } from '../../src/temporal/search-attributes'
import { addDeltas, closeWindow, publishWindow, retry, windowProgress } from '../../src/contract/messages'
import { searchAttributes } from '../../src/contract/search-attributes'
import type { window as windowWorkflow } from '../../src/workflows/window'
import { until } from '../support/until'
import {
  bundleWorkflows,
  countsOf,
  createEarlyServer,
  historyOf,
  MemorySink,
  MINUTE,
  newDelta,
  newSettings,
  quietRuntime,
  sinkActivities,
  untilHandled,
} from './support'
import { rowsOf } from '../core/support'
import type { WindowSummary } from '../../src/contract/workflows'

type Handle = WorkflowHandleWithSignaledRunId<typeof windowWorkflow>

const taskQueue = newSettings().group
const sinks = new Map<string, MemorySink>()
let bundle: WorkflowBundle

/** One window of a pipeline of its own, and what stands in for its Postgres. */
class TestWindow {
  readonly sink = new MemorySink()
  readonly settings: PipelineSettings
  readonly name: string
  /** When its time is over, epoch ms. */
  readonly due: number

  constructor(
    private readonly client: WorkflowClient,
    readonly start: number,
    fields: Partial<PipelineSettings> = {},
  ) {
    this.settings = newSettings(fields)
    const { group, windowSize, watermarkDelay } = this.settings
    sinks.set(group, this.sink)
    this.name = formatWindow(start, windowSize)
    this.due = start + windowSize + watermarkDelay
  }

  /** As pollers do: a run that has ended is followed by another. */
  send(...deltas: Delta[]): Promise<Handle> {
    return this.client.signalWithStart<typeof windowWorkflow, [Delta[]]>('window', {
      workflowId: windowId(this.settings.group, this.start),
      taskQueue,
      args: [{ settings: this.settings, start: this.start }],
      signal: addDeltas,
      signalArgs: [deltas],
    })
  }
}

/** Cause of a failed workflow task: events came while it completed (temporal.api.enums.v1.WorkflowTaskFailedCause). */
const UNHANDLED_COMMAND = '1'

/** The query by which the Web UI reads what a workflow says of itself. */
const METADATA = '__temporal_workflow_metadata'

const isWrite = ({ kind, name }: { kind: string; name: string }) =>
  kind === 'activity' && name === 'writeWindow'

beforeAll(async () => {
  quietRuntime()
  bundle = await bundleWorkflows()
}, 120_000)

describe('by the clock of the time-skipping server', () => {
  let environment: TestWorkflowEnvironment
  let worker: Worker
  let running: Promise<void> | undefined

  beforeAll(async () => {
    const path = await findTestServer()
    const server = path === undefined ? {} : { executable: { type: 'existing-path', path } as const }
    environment = await TestWorkflowEnvironment.createTimeSkipping({ server })
    await addSearchAttributes(environment.client, searchAttributes)
    worker = await Worker.create({
      connection: environment.nativeConnection,
      taskQueue,
      workflowBundle: bundle,
      shutdownForceTime: '5s',
      activities: sinkActivities(sinks),
    })
    running = worker.run()
  }, 120_000)

  afterAll(async () => {
    worker?.shutdown()
    try {
      await running
    } finally {
      await environment?.teardown()
    }
  })

  /** A window that begins in the next minutes. */
  async function newWindow(fields: Partial<PipelineSettings> = {}): Promise<TestWindow> {
    const start = windowStart(await environment.currentTimeMs(), 5 * MINUTE) + 5 * MINUTE
    return new TestWindow(environment.client.workflow, start, fields)
  }

  test('a window that is told to close waits for its end and the watermark delay all the same', async () => {
    const window = await newWindow()
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(closeWindow)
    await untilHandled(handle, ({ name }) => name === 'close')
    await environment.sleep(window.due - (await environment.currentTimeMs()) - 30_000)
    expect(await handle.query(windowProgress)).toMatchObject({ state: 'open', hits: 4 })
    expect((await historyOf(handle)).some(isWrite)).toBe(false)

    await handle.result()
    const written = (await historyOf(handle)).find(isWrite)!
    expect(written.at).toBeGreaterThanOrEqual(window.due)
    expect(window.sink.writes).toHaveLength(1)
  })

  test('a window whose time is over waits to be told to close all the same', async () => {
    const window = await newWindow()
    const handle = await window.send(newDelta(0, 0, 3))
    await untilHandled(handle, ({ kind }) => kind === 'activity done')
    await environment.sleep(window.due - (await environment.currentTimeMs()) + MINUTE)
    await untilHandled(handle, ({ kind }) => kind === 'timer fired')
    // Still open: what comes now is counted.
    await handle.signal(addDeltas, [newDelta(0, 4, 9)])
    const events = await untilHandled(handle, ({ kind, at }) => kind === 'signal' && at > window.due)
    expect(events.some(isWrite)).toBe(false)
    expect(await handle.query(windowProgress)).toMatchObject({ state: 'open', hits: 10 })

    await handle.signal(closeWindow)
    expect(await handle.result()).toMatchObject({ hits: 10, lateHits: 0 })
    expect(window.sink.writes).toHaveLength(1)
  })

  test('a window writes once the absolute totals of what it was sent, and ends with a summary', async () => {
    const window = await newWindow()
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

  test('hits that were not located are written as such, once, and the summary says what to do', async () => {
    const window = await newWindow()
    const unlocated = { ...newDelta(0, 0, 3), unlocated: 3 }
    const handle = await window.send(unlocated, newDelta(0, 4, 9), unlocated)
    expect(await handle.query(windowProgress)).toMatchObject({ unlocated: 3 })
    await handle.signal(closeWindow)
    const { summary } = await handle.result()
    expect(window.sink.writes).toMatchObject([{ hits: 10, unlocated: 3 }])
    expect(summary).toContain('; 3 hits under ?? because the country lookup failed: replay it.')
  })

  test('a write that fails is tried again until it succeeds, and the window ends right', async () => {
    const window = await newWindow()
    window.sink.before.writeWindow = attempt => {
      if (attempt <= 5) throw new Error('Postgres is away')
    }
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(closeWindow)
    expect(await handle.result()).toMatchObject({ hits: 4, lateHits: 0, revision: 1 })
    expect(window.sink.attempts.writeWindow).toBe(6)
    expect(window.sink.writes.map(({ hits }) => hits)).toEqual([4])
  })

  const untilTime = async (time: number) => environment.sleep(time - (await environment.currentTimeMs()))

  const refusesFor = (window: TestWindow, step: 'openWindow' | 'writeWindow') => {
    const refusal = { mended: false }
    window.sink.before[step] = () => {
      if (!refusal.mended) throw ApplicationFailure.nonRetryable('The schema is missing.')
    }
    return refusal
  }

  test.each(['openWindow', 'writeWindow'] as const)(
    '%s that is refused for good is not repeated; mended, one signal brings the window to its end',
    async step => {
      const window = await newWindow()
      const refusal = refusesFor(window, step)
      const handle = await window.send(newDelta(0, 0, 3))
      await handle.signal(closeWindow)
      if (step === 'writeWindow') await untilTime(window.due + 1_000)
      await untilHandled(handle, ({ kind }) => kind === 'activity failed')
      expect(window.sink.attempts[step]).toBe(1)
      expect(await handle.query(METADATA)).toMatchObject({
        currentDetails: expect.stringMatching(
          /is stuck[^]*The schema is missing\. Mend that.*`web-traffic retry`/,
        ),
      })
      refusal.mended = true
      await handle.signal(retry)
      expect(await handle.result()).toMatchObject({ hits: 4, lateHits: 0, revision: 1 })
      expect(window.sink.attempts[step]).toBe(2)
      expect(window.sink.writes.map(({ hits }) => hits)).toEqual([4])
    },
  )

  test('what was refused for good is tried again by itself, after a minute and then ever more rarely', async () => {
    const window = await newWindow()
    const tries: number[] = []
    window.sink.before.writeWindow = async attempt => {
      tries.push(await environment.currentTimeMs())
      if (attempt < 4) throw ApplicationFailure.nonRetryable('The schema is missing.')
    }
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(closeWindow)
    expect(await handle.result()).toMatchObject({ hits: 4, revision: 1 })
    const minutes = tries.slice(1).map((time, i) => Math.round((time - tries[i]!) / MINUTE))
    expect(minutes).toEqual([1, 2, 4])
  })

  test('until Postgres has said what it knows, deltas wait unmerged, and none is lost afterwards', async () => {
    const window = await newWindow()
    let away = true
    window.sink.before.openWindow = () => {
      if (away) throw new Error('Postgres is away')
    }
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(addDeltas, [newDelta(0, 4, 5)])
    await handle.signal(closeWindow)
    await until(() => window.sink.attempts.openWindow >= 2)
    await untilHandled(handle, ({ name }) => name === 'close')
    const progress = await handle.query(windowProgress)
    expect(progress).toMatchObject({ state: 'opening', hits: 6, deltas: 2, groups: 0, revision: 0 })
    away = false
    expect(await handle.result()).toMatchObject({ hits: 6, deltas: 2, lateHits: 0 })
    expect(window.sink.writes.map(({ hits }) => hits)).toEqual([6])
  })

  test('a delta that comes again is dropped; one that overlaps is not counted, and is named', async () => {
    const window = await newWindow()
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

  test('a window that Postgres knows as closed is not written: every delta is recorded, late or a repeat', async () => {
    const window = await newWindow()
    window.sink.closedBefore(window.start, 3, [{ partition: 0, from: 0, basis: null, last: 9 }])
    const sent = [newDelta(0, 4, 9), newDelta(0, 10, 12), newDelta(1, 0, 1)]
    const handle = await window.send(...sent)
    expect(await handle.result()).toEqual({
      summary: `${window.name}: was closed before, as revision 3; 5 hits after it had closed, counted as late.`,
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

  test('a delta that overlaps what a closed window had applied is named, and no more of it', async () => {
    const window = await newWindow()
    window.sink.closedBefore(window.start, 1, [{ partition: 0, from: 0, basis: null, last: 9 }])
    const handle = await window.send(newDelta(0, 8, 12))
    expect((await handle.result()).overlaps).toEqual([{ partition: 0, first: 8, last: 12 }])
    expect(window.sink.late).toEqual([])
  })

  test('deltas that come while the window is being written are recorded after it, and none is lost', async () => {
    const window = await newWindow()
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
    letFail(new Error('Postgres is away'))
    await until(() => window.sink.attempts.writeWindow === 2)
    await handle.signal(addDeltas, [newDelta(0, 4, 5), newDelta(1, 0, 2)])
    expect(await handle.query(windowProgress)).toMatchObject({ state: 'closing', hits: 4 })
    expect(window.sink.attempts.recordClosed).toBe(0)
    letWrite()
    expect(await result).toMatchObject({
      summary: `${window.name}: 4 hits in 1 group, written as revision 1; 5 hits after it had closed, counted as late.`,
      hits: 4,
      lateHits: 5,
      repeats: 1,
    })
    expect(window.sink.writes.map(({ hits }) => hits)).toEqual([4])
    expect(window.sink.late).toEqual([newDelta(0, 4, 5), newDelta(1, 0, 2)])
  })

  test('a window publishes, corrects with higher revisions, and closes when both clock and ledger say so', async () => {
    const window = await newWindow({ allowedLateness: 30 * MINUTE })
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(publishWindow)
    await untilHandled(handle, ({ name }) => name === 'publish')
    expect(window.sink.writes).toEqual([])
    await untilTime(window.due + 1_000)
    await until(() => window.sink.writes.length === 1)
    await until(async () => (await handle.query(windowProgress)).state === 'published')

    // Gathered: two late deltas, one correction.
    await window.send(newDelta(0, 4, 5))
    await window.send(newDelta(1, 0, 0), newDelta(0, 4, 5))
    await untilTime(window.due + MINUTE)
    await until(() => window.sink.writes.length === 2)
    // The ledger says that it may close; the clock does not yet.
    await handle.signal(closeWindow)
    await untilHandled(handle, ({ name }) => name === 'close')
    await window.send(newDelta(1, 1, 9))
    await untilTime(window.due + 2 * MINUTE)
    await until(() => window.sink.writes.length === 3)
    await untilTime(window.due + 29 * MINUTE)
    expect((await handle.describe()).status.name).toBe('RUNNING')

    expect(await handle.result()).toMatchObject({ hits: 16, revision: 3, deltas: 4, repeats: 1, lateHits: 0 })
    const written = window.sink.writes.map(({ revision, status, hits }) => ({ revision, status, hits }))
    expect(written).toEqual([
      { revision: 1, status: 'published', hits: 4 },
      { revision: 2, status: 'published', hits: 7 },
      { revision: 3, status: 'published', hits: 16 },
    ])
    // The last step changed no count: it closed revision 3.
    expect(window.sink.closed).toEqual([3])
    const closed = (await historyOf(handle)).filter(isWrite).at(-1)!
    expect(closed.at).toBeGreaterThanOrEqual(window.due + 30 * MINUTE)
  }, 180_000)

  test('a window of a backlog, told at once to publish and to close after its time, is written once', async () => {
    const start = windowStart(await environment.currentTimeMs(), 5 * MINUTE) - 60 * MINUTE
    const window = new TestWindow(environment.client.workflow, start, { allowedLateness: MINUTE })
    const release = holdOpening(window.sink)
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(publishWindow)
    await handle.signal(closeWindow)
    await untilHandled(handle, ({ name }) => name === 'close')
    release()
    expect(await handle.result()).toMatchObject({ hits: 4, revision: 1 })
    expect(window.sink.writes.map(({ status }) => status)).toEqual(['closed'])
  }, 180_000)

  /** Lets `openWindow` fail until it is released. */
  function holdOpening(sink: MemorySink): () => void {
    let held = true
    sink.before.openWindow = () => {
      if (held) throw new Error('Postgres is away')
    }
    return () => {
      held = false
    }
  }
})

describe('on a server that suggests continuing as new early', () => {
  let environment: TestWorkflowEnvironment
  let worker: Worker
  let running: Promise<void> | undefined

  beforeAll(async () => {
    environment = await createEarlyServer()
    worker = await Worker.create({
      connection: environment.nativeConnection,
      taskQueue,
      workflowBundle: bundle,
      activities: sinkActivities(sinks),
    })
    running = worker.run()
  }, 120_000)
  afterAll(async () => {
    worker?.shutdown()
    await running
    await environment?.teardown()
  })

  const overWindow = (fields: Partial<PipelineSettings> = {}) =>
    new TestWindow(environment.client.workflow, windowStart(Date.now(), 5 * MINUTE) - 60 * MINUTE, fields)

  /** Four senders, each in order and some of it twice, as pollers do; resolves to the runs that took it in. */
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

  const countTotals = ({ sink }: TestWindow) =>
    Object.values(sink.totals).reduce((sum, hits) => sum + hits, 0)

  test('a window goes through many runs under load and loses no signal, and counts none twice', async () => {
    const window = overWindow()
    const runs = await sendInParallel(window, 100)
    expect(runs.size).toBeGreaterThan(5)
    const handle = environment.client.workflow.getHandle<typeof windowWorkflow>(
      windowId(window.settings.group, window.start),
    )
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
    // Asked once: the runs that follow know.
    expect(window.sink.attempts.openWindow).toBe(1)
  }, 180_000)

  test('while Postgres is away it goes through many runs too, with its deltas waiting unmerged', async () => {
    const window = overWindow()
    let away = true
    window.sink.before.openWindow = () => {
      if (away) throw new Error('Postgres is away')
    }
    const runs = await sendInParallel(window, 60)
    expect(runs.size).toBeGreaterThan(3)
    const handle = environment.client.workflow.getHandle<typeof windowWorkflow>(
      windowId(window.settings.group, window.start),
    )
    expect(await handle.query(windowProgress)).toMatchObject({ state: 'opening', hits: 240, groups: 0 })
    away = false
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
    const latest = environment.client.workflow.getHandle(first.workflowId)
    await until(async () => (await latest.describe()).runId !== first.signaledRunId)
    await window.send(newDelta(9, 1, 1))
    await until(() => window.sink.writes.at(-1)?.hits === 122, 30_000)
    const revisions = window.sink.writes.map(({ revision }) => revision)
    expect(revisions).toEqual(revisions.map((_, i) => i + 1))
  }, 180_000)

  test('a published window whose correction is refused goes through many runs, and writes it in the end', async () => {
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
    const handle = environment.client.workflow.getHandle<typeof windowWorkflow>(first.workflowId)
    await handle.signal(retry)
    await until(() => window.sink.writes.at(-1)?.hits === hits, 60_000)
    expect(countTotals(window)).toBe(hits)
    expect(window.sink.writes.at(-1)!.revision).toBeGreaterThan(runs.size)
    await until(async () => (await handle.query(windowProgress)).stuck === undefined)
    expect(await handle.query(windowProgress)).toMatchObject({ state: 'published', hits })
  }, 180_000)

  test('what came while a large window was being written is recorded in messages that the server takes', async () => {
    const window = overWindow()
    let hold = true
    window.sink.before.writeWindow = () => {
      if (hold) throw new Error('Postgres is away')
    }
    const handle = await window.send(newDelta(0, 0, 3))
    await handle.signal(closeWindow)
    await until(() => window.sink.attempts.writeWindow > 0)
    // Each is under the 900 kB of a delta; all together are more than the server's 2 MB.
    const referrers = Array.from({ length: 1_000 }, (_, i) => `https://r/${i}/${'x'.repeat(700)}`)
    const rows = rowsOf(referrers.flatMap((_, i) => [0, i, 0, 1]))
    for (let n = 1; n <= 4; n++)
      await window.send({ ...newDelta(0, n * 1_000, n * 1_000 + 999), referrers, rows })
    hold = false
    const latest = environment.client.workflow.getHandle<typeof windowWorkflow>(handle.workflowId)
    expect(await latest.result()).toMatchObject({ hits: 4, lateHits: 4_000, repeats: 0 })
    expect(window.sink.calls.map(deltas => deltas.length)).toEqual([1, 1, 1, 1])
  }, 180_000)

  test('a window larger than one message sends pieces ahead, and its result is put together from all', async () => {
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
    const result = await environment.client.workflow
      .getHandle<typeof windowWorkflow>(handle.workflowId)
      .result()
    expect(result).toMatchObject({ hits: 36_000, deltas: 8 })
    expect(window.sink.attempts.stagePiece).toBeGreaterThanOrEqual(3)
    expect(window.sink.totals).toEqual(expected)
  }, 180_000)

  test('deltas that there is no room for while Postgres is away are each judged for itself where the window was closed', async () => {
    const window = overWindow()
    window.sink.closedBefore(window.start, 1, [{ partition: 0, from: 0, basis: null, last: 15 }])
    let away = true
    window.sink.before.openWindow = () => {
      if (away) throw new Error('Postgres is away')
    }
    let handle!: Handle
    for (let n = 0; n < 6; n++) {
      const referrers = [`${n}${'x'.repeat(300_000)}`]
      handle = await window.send({ ...newDelta(0, n * 10, n * 10 + 5), referrers })
    }
    // Three of them fit a message; the others wait in the history.
    await until(async () => (await handle.query(windowProgress)).deltas === 3)
    away = false
    const result = await environment.client.workflow
      .getHandle<typeof windowWorkflow>(handle.workflowId)
      .result()
    // The first two were in the result.
    expect(result).toMatchObject({ hits: 0, repeats: 2, lateHits: 24, revision: 1 })
    expect(window.sink.writes).toEqual([])
  }, 180_000)
})

describe('on a real server', () => {
  let connection: Connection
  let nativeConnection: NativeConnection
  let client: WorkflowClient
  let worker: Worker
  let running: Promise<void> | undefined
  /** Called when a window has decided to end, before the server is told. */
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
    const address = process.env.TEMPORAL_ADDRESS!
    connection = await Connection.connect({ address })
    nativeConnection = await NativeConnection.connect({ address })
    client = new WorkflowClient({ connection })
    worker = await Worker.create({
      connection: nativeConnection,
      taskQueue,
      workflowBundle: bundle,
      shutdownForceTime: '5s',
      activities: sinkActivities(sinks),
      dataConverter: { payloadCodecs: [holdsCompletion] },
    })
    running = worker.run()
  }, 180_000)

  afterAll(async () => {
    worker?.shutdown()
    try {
      await running
    } finally {
      await nativeConnection?.close()
    }
    await connection?.close()
  })

  test('a window takes the signals of 25 pollers at once, and counts each of their deltas once', async () => {
    const POLLERS = 25
    const SIGNALS = 20
    const window = new TestWindow(client, windowStart(Date.now(), 5 * MINUTE) - 120 * MINUTE)
    const began = Date.now()
    const poll = async (poller: number) => {
      let handle!: Handle
      for (let n = 0; n < SIGNALS; n++) {
        // Four partitions each, as one message; every fifth is sent again, as after a lost answer.
        const deltas = [0, 1, 2, 3].map(i =>
          newDelta(4 * poller + i, 10 * n, 10 * n + 9, { host: `h${poller}` }),
        )
        handle = await window.send(...deltas)
        if (n % 5 === 0) await window.send(...deltas)
      }
      return handle
    }
    const [handle] = await Promise.all(Array.from({ length: POLLERS }, (_, poller) => poll(poller)))
    // What a window takes for long is five a second; in a burst, as at its end, it must take far more.
    const perSecond = (POLLERS * (SIGNALS + SIGNALS / 5)) / ((Date.now() - began) / 1_000)
    expect(perSecond).toBeGreaterThan(25)
    await handle!.signal(closeWindow)
    const result = await client.getHandle<typeof windowWorkflow>(handle!.workflowId).result()
    expect(result).toMatchObject({
      hits: POLLERS * 4 * SIGNALS * 10,
      deltas: POLLERS * 4 * SIGNALS,
      repeats: (POLLERS * 4 * SIGNALS) / 5,
      lateHits: 0,
    })
  }, 180_000)

  test('a delta that arrives at the very moment of completion is counted like any other', async () => {
    const window = new TestWindow(client, windowStart(Date.now(), 5 * MINUTE) - 60 * MINUTE)
    const runs = new Set<string>()
    const sent: Delta[] = []
    const send = async (delta: Delta) => {
      sent.push(delta)
      const handle = await window.send(delta)
      runs.add(handle.signaledRunId)
      return handle
    }
    // One partition each, in order and some of it twice, as pollers send.
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
      // Twice the completion is held until the burst was accepted, then it races one.
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
})
