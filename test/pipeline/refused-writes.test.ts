import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { defaultPayloadConverter } from '@temporalio/common'
import { openCountryDatabase } from '../../src/geo/country'
import { countLog } from '../../trials/oracle/reference'
import { withTemporal } from '../../src/temporal/connection'
import { retry } from '../../src/contract/messages'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import type { WindowLine } from '../../src/pipeline/window-list'

const WINDOW = 2_000
const DELAY = 500

let pipeline: TestPipeline

beforeEach(async () => {
  pipeline = new TestPipeline({
    WINDOW_SIZE: `${WINDOW}ms`,
    WATERMARK_DELAY: `${DELAY}ms`,
    // Every try that fails is a warning.
    LOG_LEVEL: 'error',
  })
  await pipeline.begin(2)
  pipeline.startWorker()
}, 60_000)

afterEach(() => pipeline.destroy())

const stuck = () => `Pipeline = '${pipeline.config.settings.group}' AND WindowStatus = 'stuck'`

/** Ids of the windows that are found as stuck. */
async function stuckWindows(): Promise<string[]> {
  return withTemporal(async client => {
    const ids: string[] = []
    for await (const { workflowId } of client.workflow.list({ query: stuck() })) ids.push(workflowId)
    return ids
  })
}

test('writes that are refused for good stay in sight, and one command brings every window to its end', async () => {
  let sent = await traffic()
  await pipeline.untilAccounted(sent)

  await pipeline.query('alter table aggregated_web_traffic rename column num_hits to hits')
  sent += await traffic()
  await until(async () => (await stuckWindows()).length > 0)
  // A window that was refused does not come in the way of reading, nor of what comes after it.
  expect((await pipeline.untilDone(sent)).records).toBe(sent)
  const [workflowId] = await stuckWindows()
  expect(await detailsOf(workflowId!)).toMatch(/"num_hits"[^]*web-traffic retry/)

  const start = workflowId!.slice(workflowId!.lastIndexOf('/') + 1)
  const listed = JSON.parse(await pipeline.command('windows', '--limit', '50', '--json')) as WindowLine[]
  expect(listed.find(({ windowStart }) => windowStart === start)).toMatchObject({
    status: 'stuck',
    stuck: { step: 'write revision 1', reason: expect.stringContaining('"num_hits"') },
  })
  expect(new Set(listed.map(({ windowStart }) => windowStart)).size).toBe(listed.length)
  expect(await pipeline.command('windows', '--limit', '50')).toMatch(
    / stuck [^]* is stuck: it has tried to write revision 1 since .*\. .*"num_hits".*"web-traffic retry"/,
  )
  expect(await timersOf(workflowId!)).toContain('write revision 1: failed; retry after this or on a signal')

  // The same of late and rejected records.
  await pipeline.query('alter table late_deltas rename to late_elsewhere')
  sent += await traffic()
  const refusesLate =
    /it has tried to record late and rejected records since .*\. .*"late_deltas".*"web-traffic retry"/
  await until(async () => refusesLate.test(await pipeline.command('windows', '--limit', '50')))

  const { stdout, code } = await pipeline.attempt('status')
  expect(stdout).toMatch(
    /^UNHEALTHY\n {2}Window .* is stuck: it has tried to .*"(num_hits|late_deltas)".*"web-traffic retry"/,
  )
  expect(code).toBe(1)

  await pipeline.query('alter table aggregated_web_traffic rename column hits to num_hits')
  await pipeline.query('alter table late_elsewhere rename to late_deltas')
  // The signal alone, as it is sent from the Web UI, is enough for one window.
  await withTemporal(client => client.workflow.getHandle(workflowId!).signal(retry))
  await until(async () => !(await stuckWindows()).includes(workflowId!))
  await until(async () => {
    await pipeline.command('retry')
    await sleep(500)
    return (await pipeline.sums()).records === sent
  })
  await until(async () => (await pipeline.attempt('status')).code === 0)
  expect(await stuckWindows()).toEqual([])
  const reference = countLog(await pipeline.readLog(), await openCountryDatabase(), WINDOW, DELAY)
  expect(reference.rejected).toBeGreaterThan(0)
  await expectCounts(pipeline.db, reference)
}, 180_000)

/** Some seconds of live traffic; how many records. */
async function traffic(): Promise<number> {
  const mix = ['--late', '0.05', '--malformed', '0.02', '--disorder', '300ms']
  const text = await pipeline.command(
    'produce',
    '--synthetic',
    '--rate',
    '200',
    '--for',
    '6s',
    ...mix,
    '--json',
    '--quiet',
  )
  return (JSON.parse(text) as { sent: number }).sent
}

/** What the timers of a workflow are for, as its timeline shows them. */
async function timersOf(workflowId: string): Promise<unknown[]> {
  const { events } = await withTemporal(client => client.workflow.getHandle(workflowId).fetchHistory())
  return (events ?? [])
    .filter(event => event.timerStartedEventAttributes)
    .flatMap(({ userMetadata }) =>
      userMetadata?.summary ? [defaultPayloadConverter.fromPayload(userMetadata.summary)] : [],
    )
}

async function detailsOf(workflowId: string): Promise<string> {
  const metadata = await withTemporal(client =>
    client.workflow.getHandle(workflowId).query<{ currentDetails: string }>('__temporal_workflow_metadata'),
  )
  return metadata.currentDetails
}
