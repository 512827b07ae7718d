import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { windowId } from '../../src/contract/ids'
import { openCountryDatabase } from '../../src/geo/country'
import { countLog } from '../../trials/oracle/reference'
import { withTemporal } from '../../src/temporal/connection'
import { windowProgress } from '../../src/contract/messages'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import type { RepairSummary, ReplaySummary, VerifySummary } from '../../src/contract/workflows'
import type { WindowLine } from '../../src/pipeline/window-list'

const MINUTE = 60_000
const WINDOW = 5 * MINUTE
/** Start of a window that is over, as are those after it. */
const W0 = Math.floor((Date.now() - 240 * MINUTE) / WINDOW) * WINDOW
const instant = (at: number) => new Date(at).toISOString().replace('.000', '')

let pipeline: TestPipeline

beforeEach(async () => {
  pipeline = new TestPipeline({ LOG_LEVEL: 'error', IDLE_TIMEOUT: '12s' })
  await pipeline.begin(2)
}, 60_000)

afterEach(() => pipeline.destroy())

function event(at: number, partition = 0, referrer = '') {
  const event_time = new Date(at).toISOString()
  return { partition, value: JSON.stringify({ event_time, host: 'a.example', referrer, ip: '193.0.6.139' }) }
}

/** Seconds of a time on both partitions, with late events and records that are none where they are asked for. */
function* traffic(from: number, seconds: number, oddities = false) {
  for (let i = 0; i < seconds; i++) {
    yield event(from + i * 1_000, i % 2, `https://r-${i % 5}.example/`)
    if (oddities && i % 20 === 0) yield event(from - 3 * WINDOW, i % 2, 'https://late.example/')
    if (oddities && i % 30 === 0) yield { partition: i % 2, value: 'no JSON' }
  }
}

const idOf = (start: number) => windowId(pipeline.config.settings.group, start)

/** How many hits the window's run has, whatever else it is at. */
const heldBy = (start: number) =>
  withTemporal(client =>
    client.workflow
      .getHandle(idOf(start))
      .query(windowProgress)
      .then(
        ({ hits }) => hits,
        () => 0,
      ),
  )

const terminate = (start: number) =>
  withTemporal(client => client.workflow.getHandle(idOf(start)).terminate('an accident'))

/** What has passed its watermark closes, in both partitions. */
const closing = (from: number) => [event(from + 2 * WINDOW, 0), event(from + 2 * WINDOW, 1)]

async function json<T>(...args: string[]): Promise<{ found: T; code: number; stderr: string }> {
  const { stdout, stderr, code } = await pipeline.attempt(...args, '--json')
  return { found: JSON.parse(stdout) as T, code, stderr }
}

async function expectExact(): Promise<void> {
  await expectCounts(
    pipeline.db,
    countLog(await pipeline.readLog(), await openCountryDatabase(), WINDOW, MINUTE),
  )
}

/** Until the commands say that the window lacks what it was told. */
async function untilNamed(start: number): Promise<void> {
  const command = `web-traffic repair ${instant(start)}`
  // The ledger tells a window again half a minute later, and finds that nothing of it runs.
  await until(async () => (await pipeline.attempt('status')).stdout.includes(command), 150_000)
  const { code } = await pipeline.attempt('status')
  expect(code).toBe(1)
  const { found } = await json<WindowLine[]>('windows')
  const line = found.find(({ windowStart }) => windowStart === instant(start))
  expect(['stuck', 'incomplete', 'lost']).toContain(line?.status)
  expect(line?.stuck?.reason ?? line?.trouble).toContain(command)
}

async function expectRepaired(start: number, sent: number): Promise<RepairSummary> {
  const { found } = await json<RepairSummary>('repair', instant(start))
  expect(found).toMatchObject({ outcome: 'repaired', lost: { hits: 0, exceptions: 0 } })
  expect(found.balance?.told).toEqual(found.balance?.accounted)
  await pipeline.untilAccounted(sent)
  await expectExact()
  await until(async () => (await pipeline.attempt('status')).code === 0)
  // Once more is no harm.
  expect((await json<RepairSummary>('repair', instant(start))).found).toMatchObject({
    outcome: 'unchanged',
    revision: found.revision,
  })
  await expectExact()
  const verified = await json<VerifySummary>('verify')
  expect(verified).toMatchObject({ code: 0, found: { wrong: 0, missing: [] } })
  return found
}

test('an open window with late and rejected records that is terminated is named, and one command makes it exact', async () => {
  pipeline.startWorker()
  const earlier = await pipeline.send(traffic(W0 - 3 * WINDOW, 20))
  await pipeline.untilDone(earlier)
  let sent = earlier + (await pipeline.send(traffic(W0, 120, true)))
  await pipeline.untilDone(sent)
  await terminate(W0)
  // A new run gets what comes later, and knows nothing of what was lost.
  sent += await pipeline.send(traffic(W0 + 2 * MINUTE, 60, true))
  await pipeline.untilDone(sent)
  expect((await pipeline.attempt('repair', instant(W0))).stderr).toContain('It is still open')
  sent += await pipeline.send(closing(W0))
  await pipeline.untilDone(sent)
  await untilNamed(W0)
  expect((await pipeline.sums()).records).toBeLessThan(sent)
  const verified = await json<VerifySummary>('verify')
  expect(verified.code).toBe(1)
  expect(verified.found.summary).toContain(`web-traffic repair ${instant(W0)}`)
  await expectRepaired(W0, sent)
  // The run that waited has ended by itself.
  await until(() =>
    withTemporal(
      async client => (await client.workflow.getHandle(idOf(W0)).describe()).status.name === 'COMPLETED',
    ),
  )
}, 300_000)

test('a window that is terminated while Postgres refuses it is repaired once Postgres is mended', async () => {
  pipeline.startWorker()
  await pipeline.query('alter table aggregated_web_traffic rename column num_hits to hits')
  let sent = await pipeline.send(traffic(W0, 100, true))
  sent += await pipeline.send(closing(W0))
  await pipeline.untilDone(sent)
  const stuck = `WorkflowId = '${idOf(W0)}' AND WindowStatus = 'stuck'`
  await until(() => withTemporal(async client => (await client.workflow.count(stuck)).count > 0))
  await terminate(W0)
  await pipeline.query('alter table aggregated_web_traffic rename column hits to num_hits')
  await untilNamed(W0)
  await pipeline.command('retry')
  await expectRepaired(W0, sent)
}, 300_000)

test('a request to cancel an open window changes nothing', async () => {
  pipeline.startWorker()
  let sent = await pipeline.send(traffic(W0, 100, true))
  await pipeline.untilDone(sent)
  await withTemporal(client => client.workflow.getHandle(idOf(W0)).cancel())
  await sleep(1_000)
  const before = await heldBy(W0)
  expect(before).toBeGreaterThan(0)
  sent += await pipeline.send(traffic(W0 + 100_000, 50))
  sent += await pipeline.send(closing(W0))
  await pipeline.untilAccounted(sent)
  await expectExact()
  expect((await pipeline.attempt('status')).code).toBe(0)
}, 120_000)

test('a topic that was re-created loses no hits by a replay, and a repair names what is lost', async () => {
  const worker = pipeline.startWorker()
  const { topic } = pipeline.config.settings
  const sent = await pipeline.send([...traffic(W0, 100), ...closing(W0)])
  await pipeline.untilAccounted(sent)
  await pipeline.stopWorker(worker)
  await pipeline.withAdmin(admin => admin.deleteTopics({ topics: [topic] }))
  await until(() => pipeline.withAdmin(async admin => !(await admin.listTopics()).includes(topic)))
  await pipeline.createTopic(2)
  // As many records, of another time.
  await pipeline.send(traffic(W0 + 10 * WINDOW, 400))
  pipeline.startWorker('windows')

  const replayed = await json<ReplaySummary>('replay', instant(W0))
  expect(replayed).toMatchObject({ code: 1, found: { replayed: 0, lost: 1 } })
  expect(replayed.found.lostWindows).toEqual([{ start: W0, expected: 100, counted: 0 }])
  const verified = await json<VerifySummary>('verify', instant(W0))
  expect(verified).toMatchObject({ code: 1, found: { right: 0, lost: 1 } })
  expect(verified.found.summary).not.toContain('web-traffic replay')
  const hits = () =>
    pipeline.query(`select num_hits::int from window_results where window_start = '${instant(W0)}'`)
  expect(await hits()).toEqual([{ num_hits: 100 }])
  const refused = await pipeline.attempt('repair', instant(W0))
  expect(refused).toMatchObject({ code: 1 })
  expect(refused.stderr).toMatch(/should have 100 hits .* --accept-loss/)
  expect(await hits()).toEqual([{ num_hits: 100 }])

  const accepted = await json<RepairSummary>('repair', instant(W0), '--accept-loss')
  expect(accepted).toMatchObject({ code: 0, found: { hits: 0, lost: { hits: 100, exceptions: 0 } } })
  expect(await hits()).toEqual([{ num_hits: 0 }])
  expect(await json<VerifySummary>('verify', instant(W0))).toMatchObject({
    code: 0,
    found: { right: 1, accepted: { hits: 100, exceptions: 0 } },
  })
}, 300_000)

test('where there is nothing to verify that is said, and fails where there should be something', async () => {
  pipeline.startWorker()
  await pipeline.untilDone(0)
  const empty = await pipeline.attempt('verify')
  expect(empty).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('There is no closed window to verify.'),
  })
  const named = await pipeline.attempt('verify', '--from', instant(W0), '--to', instant(W0 + WINDOW))
  expect(named).toMatchObject({ code: 1, stdout: expect.stringContaining('There is no closed window') })
  await pipeline.untilDone(await pipeline.send(traffic(Date.now() - 10_000, 10)))
  expect((await pipeline.attempt('verify')).code).toBe(1)
}, 120_000)
