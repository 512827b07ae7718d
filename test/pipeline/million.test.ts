import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { defaultPayloadConverter } from '@temporalio/common'
import type { PollResult } from '../../src/contract/activities'
import { pollerId } from '../../src/contract/ids'
import { openCountryDatabase } from '../../src/geo/country'
import { withTemporal } from '../../src/temporal/connection'
import { expectCounts } from '../support/counts'
import { countLog, totalOf, type Reference } from '../../trials/oracle/reference'
import { TestPipeline } from '../support/pipeline'

const EVENTS = 1_000_000

let source: TestPipeline
let reference: Reference
let pipeline: TestPipeline | undefined

beforeAll(async () => {
  source = new TestPipeline()
  // An hour that is over: a window that has not ended yet closes by the clock, in minutes.
  const start = new Date(Date.now() - 2 * 3_600_000).toISOString()
  const options = ['--start', start, '--late', '0.002', '--malformed', '0.001', '--partitions', '4']
  await source.command('produce', '--synthetic', '--events', String(EVENTS), ...options)
  reference = countLog(await source.readLog(), await openCountryDatabase(), 300_000, 60_000)
  expect(totalOf(reference.hits) + totalOf(reference.late) + reference.rejected).toBe(EVENTS)
  expect(reference.late.size).toBeGreaterThan(100)
}, 600_000)

afterEach(async () => {
  await pipeline?.destroy()
})
afterAll(async () => source.destroy())

/** Another pipeline, with a group and database of its own, on the topic that holds the million. */
async function started(): Promise<TestPipeline> {
  pipeline = new TestPipeline({ KAFKA_TOPIC: source.config.settings.topic, FLUSH_INTERVAL: '2s' })
  await pipeline.migrate()
  await pipeline.start()
  return pipeline
}

test('a million events equal an independent count, row by row', async () => {
  const pipeline = await started()
  pipeline.startWorker()
  await pipeline.untilAccounted(EVENTS, 180_000)
  await expectCounts(pipeline.db, reference)
}, 600_000)

test('a graceful stop and start in the middle changes nothing, and reads nothing again', async () => {
  const pipeline = await started()
  const first = pipeline.startWorker()
  // Somewhere in the middle: some of it is done, and most of it is not.
  await pipeline.untilDone(1)
  expect(await pipeline.stopWorker(first)).toBe(0)
  const [taken] = await recordsTaken(pipeline)
  expect(taken).toBeGreaterThan(0)
  expect(taken).toBeLessThan(EVENTS)
  expect(await groupState(pipeline)).toEqual({ committed: taken, members: [] })

  const second = pipeline.startWorker()
  await pipeline.untilAccounted(EVENTS, 180_000)
  await expectCounts(pipeline.db, reference)
  expect(await pipeline.stopWorker(second)).toBe(0)
  // What the first had read was done: between them they took every record once.
  expect(await recordsTaken(pipeline)).toEqual([taken, EVENTS - taken!])
}, 600_000)

/** How many records each activity of the poller took before it ended, by the history of its workflow. */
async function recordsTaken(pipeline: TestPipeline): Promise<number[]> {
  return withTemporal(async client => {
    const poller = client.workflow.getHandle(pollerId(pipeline.config.settings.group, 1))
    const { events = [] } = await poller.fetchHistory()
    const results = events?.map(event => event.activityTaskCompletedEventAttributes?.result?.payloads?.[0])
    const converter = defaultPayloadConverter
    return (results ?? [])
      .filter(payload => payload !== undefined)
      .map(payload => converter.fromPayload<PollResult>(payload).records)
  })
}

async function groupState(pipeline: TestPipeline) {
  const { topic, group } = pipeline.config.settings
  return pipeline.withAdmin(async admin => {
    const [offsets] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    const { groups } = await admin.describeGroups([group])
    const committed = offsets?.partitions.reduce((sum, { offset }) => sum + Number(offset), 0)
    return { committed, members: groups[0]?.members }
  })
}
