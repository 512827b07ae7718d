import type { Client, ScheduleDescription } from '@temporalio/client'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { maintainId } from '../../src/contract/ids'
import { publishWindow } from '../../src/postgres/publish-window'
import { partitionedMonths } from '../../src/postgres/partitions'
import { withTemporal } from '../../src/temporal/connection'
import { columns, WINDOW } from '../postgres/support'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import type { MaintainSummary } from '../../src/contract/workflows'

const DAY = 86_400_000

let pipeline: TestPipeline

beforeAll(async () => {
  pipeline = new TestPipeline({ RETENTION: '400d' })
  await pipeline.begin(1)
  pipeline.startWorker()
}, 120_000)
afterAll(() => pipeline.destroy())

const group = () => pipeline.config.settings.group
const scheduleOf = (client: Client) => client.schedule.getHandle(maintainId(group(), 'hourly'))
const described = (): Promise<ScheduleDescription> => withTemporal(client => scheduleOf(client).describe())

const publish = (start: number) =>
  publishWindow(pipeline.db, {
    start,
    end: start + WINDOW,
    revision: 1,
    status: 'closed',
    hits: 1,
    counts: columns(['a.example', '', 'DE', 1]),
    applied: [],
    maxGroups: 10,
  })

test('a pipeline that was started is looked after every hour, at once the first time, and seen so', async () => {
  const { spec, action, info } = await described()
  expect(spec.calendars).toMatchObject([{ minute: [{ start: 5, end: 5 }] }])
  expect(action).toMatchObject({
    workflowType: 'maintain',
    args: [{ settings: { group: group() }, retention: 400 * DAY }],
  })
  expect(info.nextActionTimes.length).toBeGreaterThan(0)
  // The fifth minute of the hour may come while these tests run.
  await withTemporal(client => scheduleOf(client).pause())
  await until(async () => (await partitionedMonths(pipeline.db)).length > 1)
  const now = new Date()
  expect(await partitionedMonths(pipeline.db)).toEqual(
    [0, 1].map(ahead => Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead)),
  )
  const list = () =>
    withTemporal(async client => {
      const found = []
      for await (const { type, status } of client.workflow.list({
        query: `Pipeline = '${group()}' AND WorkflowType = 'maintain'`,
      }))
        found.push([type, status.name])
      return found
    })
  await until(async () => (await list())[0]?.[1] === 'COMPLETED')
  expect(await list()).toEqual([['maintain', 'COMPLETED']])
}, 60_000)

test('on demand it says what it did: old months go, and hours that are over are added up', async () => {
  // Past retention, which the first run has set: it is not added up any more.
  const old = Date.UTC(2020, 1, 3)
  const recent = Math.floor((Date.now() - 10 * DAY) / DAY) * DAY
  for (const start of [old, recent, recent + WINDOW]) await publish(start)
  await pipeline.query(`update window_results set closed_at = closed_at - interval '1 hour'`)
  const done = JSON.parse(await pipeline.command('maintain', '--json')) as MaintainSummary
  expect(done).toMatchObject({ sealed: { hour: 1, day: 1 }, months: [Date.UTC(2020, 1)], lateHits: 0 })
  expect(done.summary).toContain('dropped 2020-02.')
  expect(await pipeline.query('select count(*)::int as rows from aggregated_web_traffic')).toEqual([
    { rows: 2 },
  ])
  expect(await pipeline.command('maintain')).toMatch(
    /^Added up 0 hours, 0 days and 0 months; dropped nothing\.\n$/,
  )
}, 60_000)

test('a retention that was changed is told by the doctor, and taken by the next schedule', async () => {
  const doctor = async (retention: string) =>
    (await pipeline.attemptWith({ RETENTION: retention }, 'doctor', '--json')).stdout
  await withTemporal(client => scheduleOf(client).unpause())
  expect(await doctor('400d')).toContain('runs every hour, and counts are kept for 400d.')
  expect(await doctor('')).toContain('Counts are kept for 400d, but RETENTION says forever')
  const { stdout } = await pipeline.attemptWith({ RETENTION: '30d' }, 'maintain', '--schedule')
  expect(stdout).toContain('kept for 30d')
  expect((await described()).action).toMatchObject({ args: [{ retention: 30 * DAY }] })
  await withTemporal(client => scheduleOf(client).pause())
  // A start changes what is kept, and not what somebody has paused.
  await pipeline.command('start')
  expect(await described()).toMatchObject({
    state: { paused: true },
    action: { args: [{ retention: 400 * DAY }] },
  })
  expect(await doctor('400d')).toContain('is paused')
  await pipeline.command('maintain', '--unschedule')
  await expect(described()).rejects.toThrow()
  expect(await doctor('400d')).toContain('Maintenance of the tables is not scheduled')
  expect(await pipeline.attempt('maintain', '--unschedule')).toMatchObject({ code: 1 })
}, 120_000)
