import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { openCountryDatabase } from '../../src/geo/country'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'
import { countLog, totalOf, type Reference } from '../../trials/oracle/reference'

/** Events of each half of the topic. */
const HALF = 20_000
const MINUTE = 60_000
const WINDOW = 5 * MINUTE
/** Start of an hour that is over, so that no window waits for the clock. */
const START = Math.floor((Date.now() - 120 * MINUTE) / WINDOW) * WINDOW
/** Pipelines that are at work at once. */
const AT_ONCE = 3

interface Variant {
  pollers: number
  flush: string
  killed: boolean
}

const VARIANTS: Variant[] = [1, 2, 4].flatMap(pollers =>
  ['100ms', '5s'].flatMap(flush => [false, true].map(killed => ({ pollers, flush, killed }))),
)

const source = new TestPipeline()
const pipelines = new Map<Variant, TestPipeline>()
const doneAtKill = new Map<Variant, number>()
let reference: Reference

beforeAll(async () => {
  await sendHalf(1, START)
  await eachAtMost(
    AT_ONCE,
    VARIANTS.filter(({ killed }) => killed),
    startAndKill,
  )
  // While no worker runs: where one reads on, a partition whose records come a moment after another's is silent until
  // then, and may let windows close without them.
  await sendHalf(2, START + 31 * MINUTE)
  reference = countLog(await source.readLog(), await openCountryDatabase(), WINDOW, MINUTE)
  await eachAtMost(AT_ONCE, VARIANTS, finish)
}, 600_000)

afterAll(async () => {
  await eachAtMost(AT_ONCE, [...pipelines.values()], pipeline => pipeline.destroy())
  await source.destroy()
}, 300_000)

async function sendHalf(seed: number, start: number): Promise<void> {
  const time = ['--start', new Date(start).toISOString(), '--span', '28m']
  const mix = ['--late', '0.01', '--malformed', '0.01', '--partitions', '4', '--seed', String(seed)]
  await source.command('produce', '--synthetic', '--events', String(HALF), ...time, ...mix)
}

/** A pipeline with a group and database of its own on the one topic, and a worker process for each of its pollers. */
async function start({ pollers, flush, killed }: Variant) {
  const pipeline = new TestPipeline({
    KAFKA_TOPIC: source.config.settings.topic,
    FLUSH_INTERVAL: flush,
    POLLERS: String(pollers),
    // Longer than from a worker's start to its end: no partition is claimed idle with half of the topic to come.
    ...(killed && { IDLE_TIMEOUT: '15s' }),
  })
  await pipeline.migrate()
  await pipeline.start()
  startWorkers(pipeline, pollers)
  return pipeline
}

function startWorkers(pipeline: TestPipeline, count: number): void {
  for (let n = 0; n < count; n++) pipeline.startWorker()
}

/** Takes all workers away as soon as something is done. */
async function startAndKill(variant: Variant): Promise<void> {
  const pipeline = await start(variant)
  pipelines.set(variant, pipeline)
  doneAtKill.set(variant, (await pipeline.untilDone(1)).records)
  await pipeline.killWorkers()
}

async function finish(variant: Variant): Promise<void> {
  if (variant.killed) startWorkers(pipelines.get(variant)!, variant.pollers)
  else pipelines.set(variant, await start(variant))
  const pipeline = pipelines.get(variant)!
  await pipeline.untilAccounted(2 * HALF, 120_000)
  await pipeline.killWorkers()
}

async function eachAtMost<T>(limit: number, items: T[], run: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items.values()
  const lane = async () => {
    for (const item of queue) await run(item)
  }
  await Promise.all(Array.from({ length: limit }, lane))
}

test('the topic has hits, late and rejected records, in every window of both halves', () => {
  expect(totalOf(reference.hits) + totalOf(reference.late) + reference.rejected).toBe(2 * HALF)
  expect(totalOf(reference.late)).toBeGreaterThan(100)
  expect(reference.rejected).toBeGreaterThan(100)
  expect(new Set([...reference.hits.keys()].map(key => key.split('|')[0])).size).toBeGreaterThanOrEqual(12)
})

test.each(VARIANTS)(
  '$pollers pollers, flushed every $flush, a worker killed: $killed: the rows of an independent count',
  async variant => {
    if (variant.killed) {
      expect(doneAtKill.get(variant)).toBeGreaterThan(0)
      expect(doneAtKill.get(variant)).toBeLessThan(2 * HALF)
    }
    const { db } = pipelines.get(variant)!
    await expectCounts(db, reference)
    const late = await db.selectFrom('late_web_traffic').select('cause').distinct().execute()
    expect(late).toEqual([{ cause: 'watermark' }])
    expect(await rejectedRows(variant)).toEqual(await rejectedRows(VARIANTS[0]!))
  },
)

function rejectedRows(variant: Variant): Promise<object[]> {
  const { db } = pipelines.get(variant)!
  return db.selectFrom('rejected_counts').selectAll().orderBy('partition').orderBy('reason').execute()
}
