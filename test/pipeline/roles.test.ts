import type { ChildProcess } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { defaultPayloadConverter } from '@temporalio/common'
import type { PollResult } from '../../src/contract/activities'
import { anyFreePort } from '../../src/dev/cluster/ports'
import { pollerId } from '../../src/contract/ids'
import type { Finding } from '../../src/pipeline/doctor/finding'
import { openCountryDatabase } from '../../src/geo/country'
import { countLog, totalOf } from '../../trials/oracle/reference'
import { withTemporal } from '../../src/temporal/connection'
import type { Role } from '../../src/workers/roles'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'
import { Relay } from '../../trials/relay'
import { until } from '../support/until'

const WINDOW = 5_000
const DELAY = 2_000
const RATE = 1_000

const pipeline = new TestPipeline({
  WINDOW_SIZE: `${WINDOW}ms`,
  WATERMARK_DELAY: `${DELAY}ms`,
  // Longer than nobody reads: no partition is idle for that.
  IDLE_TIMEOUT: '5s',
})
const temporal = new Relay(new URL(`tcp://${process.env.TEMPORAL_ADDRESS}`))

/** A worker process as an orchestrator has it. */
class Pod {
  private constructor(
    private readonly process: ChildProcess,
    private readonly address: string,
  ) {}

  static async start(role: Role, settings: Record<string, string> = {}): Promise<Pod> {
    const address = `127.0.0.1:${await anyFreePort()}`
    return new Pod(pipeline.startWorker(role, { HEALTH_ADDRESS: address, ...settings }), address)
  }

  static async startReady(role: Role): Promise<Pod> {
    const pod = await Pod.start(role)
    await until(async () => (await pod.probe('/readyz')) === 200)
    return pod
  }

  /** The status; undefined where nothing answers. */
  async probe(path: string): Promise<number | undefined> {
    const response = await fetch(`http://${this.address}${path}`).catch(() => undefined)
    await response?.text()
    return response?.status
  }

  /** SIGTERM; its exit code, and how long it took, ms. */
  async end(): Promise<{ code: number | null; took: number }> {
    const since = Date.now()
    const code = await pipeline.stopWorker(this.process)
    return { code, took: Date.now() - since }
  }
}

/** What the doctor says of workers. */
async function workersMissing(): Promise<string[]> {
  const { stdout } = await pipeline.attempt('doctor', '--json')
  return (JSON.parse(stdout) as Finding[])
    .filter(({ state, says }) => state === 'warning' && says.startsWith('No worker'))
    .map(({ says }) => says)
}

/** How reading has ended in each process that has read. */
function readingEnded(): Promise<PollResult[]> {
  return withTemporal(async client => {
    const handle = client.workflow.getHandle(pollerId(pipeline.config.settings.group, 1))
    const { events = [] } = await handle.fetchHistory()
    return events!
      .flatMap(({ activityTaskCompletedEventAttributes: ended }) => (ended ? [ended.result] : []))
      .map(result => defaultPayloadConverter.fromPayload<PollResult>(result!.payloads![0]!))
  })
}

beforeAll(async () => {
  await temporal.open()
  await pipeline.begin(4)
}, 120_000)

afterAll(async () => {
  await pipeline.destroy()
  await temporal.close()
})

test('each role runs its own only, what is missing is named, and rolling both on live traffic changes no count', async () => {
  const { group } = pipeline.config.settings
  const NO_WINDOWS = `"${group}": start one with "web-traffic worker", with role windows or all.`
  let pollers = await Pod.startReady('pollers')
  await expect(pipeline.command('status')).rejects.toThrow(
    `No worker answers on the task queue "${group}" (TEMPORAL_TASK_QUEUE) of the namespace "default": start one with`,
  )
  expect(await workersMissing()).toEqual([`No worker polls the task queue ${NO_WINDOWS}`])
  expect(await pollers.end()).toMatchObject({ code: 0 })

  let windows = await Pod.startReady('windows')
  expect((await pipeline.status()).state).toBe('running')
  expect(await workersMissing()).not.toContain(`No worker polls the task queue ${NO_WINDOWS}`)
  const { stdout } = await pipeline.attempt('status')
  expect(stdout).toContain(
    `Poller 1 waits for a worker on the task queue "${group}/pollers": start one with "web-traffic worker", with role pollers or all.`,
  )

  pollers = await Pod.startReady('pollers')
  expect(await workersMissing()).toEqual([])
  const mix = ['--disorder', '1s', '--late', '0.01', '--malformed', '0.01', '--partitions', '4']
  const send = (duration: string) =>
    pipeline.command('produce', '--synthetic', '--rate', String(RATE), '--for', duration, ...mix)
  let rolling = true
  const sending = (async () => {
    while (rolling) await send('4s')
  })()
  await pipeline.untilDone(RATE)

  // As a Deployment rolls: the new one is ready before the old one is told to end.
  const next = await Pod.startReady('pollers')
  expect(await pollers.end()).toMatchObject({ code: 0 })
  await pipeline.untilDone((await pipeline.status()).totals.records + RATE)
  const nextWindows = await Pod.startReady('windows')
  const ended = await windows.end()
  windows = nextWindows
  expect(ended.code).toBe(0)
  expect(ended.took).toBeLessThan(20_000)

  // And with a gap, in which nobody reads.
  rolling = false
  expect(await next.end()).toMatchObject({ code: 0 })
  await sending
  const drained = (await pipeline.status()).totals.records
  const readers = await readingEnded()
  expect(readers.map(({ reason }) => reason)).toEqual(['worker shutting down', 'worker shutting down'])
  // What each had read when it was told to end is in the ledger.
  expect(readers.reduce((sum, { records }) => sum + records, 0)).toBe(drained)
  await send('2s')
  pollers = await Pod.startReady('pollers')

  const log = await pipeline.readLog()
  const sent = log.flat().length
  expect(sent).toBeGreaterThan(drained)
  await pipeline.untilAccounted(sent)
  const reference = countLog(log, await openCountryDatabase(), WINDOW, DELAY)
  expect(totalOf(reference.hits)).toBeGreaterThan(sent * 0.9)
  await expectCounts(pipeline.db, reference)
  expect(await pollers.end()).toMatchObject({ code: 0 })
  expect(await windows.end()).toMatchObject({ code: 0 })
}, 300_000)

test('a worker is alive but not ready while Temporal is away, and ready again when it is back', async () => {
  const pod = await Pod.start('all', { TEMPORAL_ADDRESS: new URL(temporal.url).host })
  await until(async () => (await pod.probe('/readyz')) === 200)
  expect(await pod.probe('/livez')).toBe(200)
  expect(await pod.probe('/')).toBe(404)
  await temporal.close()
  expect(await pod.probe('/readyz')).toBe(503)
  expect(await pod.probe('/livez')).toBe(200)
  await temporal.open()
  await until(async () => (await pod.probe('/readyz')) === 200)
  expect(await pod.end()).toMatchObject({ code: 0 })
}, 120_000)

test('an address that is taken is one line', async () => {
  const address = `127.0.0.1:${new URL(temporal.url).port}`
  await expect(pipeline.attemptWith({ HEALTH_ADDRESS: address }, 'worker')).resolves.toMatchObject({
    code: 1,
    stderr: `HEALTH_ADDRESS: cannot listen on ${address} (EADDRINUSE): set another address.\n`,
  })
})
