import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from '@jest/globals'
import { counted } from '../../src/core/numbers'
import { withTemporal } from '../../src/temporal/connection'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import type { PipelineStatus } from '../../src/pipeline/status'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

/** Events of an hour that is over, so that their windows can close. */
const HOURS_AGO = new Date(Date.now() - 5 * 3_600_000).toISOString()

const send = (events: number, ...options: string[]) =>
  pipeline.command('produce', '--synthetic', '--events', String(events), '--partitions', '2', ...options)

test('a new pipeline from the latest offset counts only what comes after it', async () => {
  pipeline = new TestPipeline()
  await pipeline.migrate()
  await send(300, '--start', HOURS_AGO)
  expect(await pipeline.command('start', '--from', 'latest')).toContain('from latest')
  pipeline.startWorker()
  await send(200, '--start', HOURS_AGO)
  await pipeline.untilAccounted(200)
  expect(await pipeline.status()).toMatchObject({ lag: 0, totals: { records: 200 } })
}, 300_000)

test('a new pipeline from a time counts only what was sent since', async () => {
  pipeline = new TestPipeline()
  await pipeline.migrate()
  await send(300, '--start', HOURS_AGO)
  await sleep(50)
  const since = new Date().toISOString()
  await send(200, '--start', HOURS_AGO)
  await pipeline.command('start', '--from', since)
  pipeline.startWorker()
  await pipeline.untilAccounted(200)
}, 300_000)

/** Those that are open, and how many were told to close: they answer in their own time. */
function ofWindows({ windows: { open, oldestOpen, closing, closed } }: PipelineStatus) {
  return { open, oldestOpen, toldToClose: closing + closed }
}

test('stop drains the pollers and keeps windows open, and start goes on where it was', async () => {
  // Long enough that nothing closes by itself: these windows are not over yet.
  pipeline = new TestPipeline({ IDLE_TIMEOUT: '1h' })
  await pipeline.migrate()
  await send(300)
  await pipeline.command('start')
  pipeline.startWorker()
  await pipeline.untilDone(300)
  const before = await pipeline.status()
  expect(before.windows.open).toBeGreaterThan(0)

  expect(await pipeline.command('stop')).toContain(`with ${counted(before.windows.open, 'open window')}.`)
  await send(200)
  const stopped = await pipeline.status()
  expect(stopped).toMatchObject({ state: 'stopped', pollers: { wanted: 0, running: [] }, lag: 200 })
  expect(ofWindows(stopped)).toEqual(ofWindows(before))

  expect(await pipeline.command('start')).toContain('Resumed ')
  await pipeline.untilDone(500)
  expect(await pipeline.status()).toMatchObject({ state: 'running', pollers: { running: [1] }, lag: 0 })
  // The second lot is of the same hour, which had passed for the first: some of it is late.
  await until(async () => (await hitsSoFar()) === 500)
}, 300_000)

test('a pause remembers how many pollers there were, and nothing is read until it is over', async () => {
  pipeline = new TestPipeline()
  await pipeline.migrate()
  await send(200, '--start', HOURS_AGO)
  await pipeline.command('start', '--pollers', '2')
  pipeline.startWorker()
  pipeline.startWorker()
  await pipeline.untilAccounted(200)

  expect(await pipeline.command('pause')).toContain('resume')
  await send(100, '--start', HOURS_AGO)
  const paused = await pipeline.status()
  expect(paused).toMatchObject({ state: 'paused', pollers: { wanted: 0, running: [] }, lag: 100 })
  // Told again it is as before, and a stop is no pause.
  await pipeline.command('pause')
  expect(await pipeline.command('resume')).toContain('with 2 pollers')
  await pipeline.untilAccounted(300)
  expect((await pipeline.status()).pollers.wanted).toBe(2)

  expect(await pipeline.command('scale', '1')).toContain('to 1 poller.')
  while ((await pipeline.status()).pollers.running.length > 1) await sleep(100)
  await send(100, '--start', HOURS_AGO)
  await pipeline.untilAccounted(400)
  await pipeline.command('stop')
  await expect(pipeline.command('resume')).rejects.toThrow('was stopped, not paused')
}, 300_000)

/** Hits in windows that are open, and what is in Postgres; one that is being written just now is in neither. */
async function hitsSoFar(): Promise<number> {
  const lines = JSON.parse(await pipeline.command('windows', '--json')) as { status: string; hits: number }[]
  const open = lines.filter(({ status }) => status === 'open').reduce((sum, window) => sum + window.hits, 0)
  const { hits, late } = await pipeline.sums()
  return open + hits + late
}

test('with versioned workers the pipeline runs on the build that is made current', async () => {
  pipeline = new TestPipeline({ WORKER_BUILD_ID: 'first' })
  const { group } = pipeline.config.settings
  await pipeline.migrate()
  await send(200, '--start', HOURS_AGO)
  pipeline.startWorker()
  await withTemporal(async ({ workflowService, options: { namespace } }) => {
    const current = { namespace, deploymentName: group, buildId: 'first', identity: 'test' }
    // Known once its worker has polled.
    await until(() =>
      workflowService.setWorkerDeploymentCurrentVersion(current).then(
        () => true,
        () => false,
      ),
    )
  })
  await pipeline.command('start')
  await pipeline.untilAccounted(200)
}, 300_000)
