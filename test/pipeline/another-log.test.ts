import { afterEach, expect, test } from '@jest/globals'
import type { Finding } from '../../src/pipeline/doctor/finding'
import { pollerId } from '../../src/contract/ids'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

/** In a window that is over. */
const HOUR_AGO = Date.now() - 3_600_000

const events = (count: number, host: string) =>
  Array.from({ length: count }, () => ({
    partition: 0,
    value: JSON.stringify({ event_time: HOUR_AGO, host, referrer: '', ip: '193.0.6.139' }),
  }))

async function startPipeline(): Promise<void> {
  pipeline = new TestPipeline()
  await pipeline.begin(1)
  pipeline.startWorker()
}

/** Deletes the topic, and creates it again with so many records. */
async function recreateTopic(records: number): Promise<void> {
  const { topic } = pipeline.config.settings
  await pipeline.withAdmin(async admin => {
    await admin.deleteTopics({ topics: [topic] })
    await until(async () => !(await admin.listTopics()).includes(topic))
  })
  await pipeline.createTopic(1)
  await pipeline.send(events(records, 'new.example'))
}

const failure = () => pipeline.untilRetried(pollerId(pipeline.config.settings.group, 1), 'pollKafka')

const hitsByHost = () =>
  pipeline.query<{ host: string; hits: number }>(
    'select host, sum(num_hits)::int as hits from aggregated_web_traffic group by host order by host',
  )

async function health(): Promise<{ problems: string[]; code: number }> {
  const { stdout, code } = await pipeline.attempt('status', '--json')
  return { problems: (JSON.parse(stdout) as { problems: string[] }).problems, code }
}

/** What the doctor says of the log. */
async function diagnosis(): Promise<Omit<Finding, 'part'>[]> {
  const { stdout } = await pipeline.attempt('doctor', '--json')
  return (JSON.parse(stdout) as Finding[])
    .filter(({ part }) => part === 'log')
    .map(({ state, says }) => ({ state, says }))
}

/** The refusal, by `status` at every moment and by `doctor`. */
async function expectRefused(line: RegExp): Promise<void> {
  // A killed worker's attempt fails first, with a heartbeat timeout.
  await until(async () => line.test(await failure()))
  for (let i = 0; i < 2; i++) {
    const { problems, code } = await health()
    expect({ problems, code }).toEqual({ problems: [expect.stringMatching(/^Poller 1 .*fails/)], code: 1 })
    expect(problems[0]).toMatch(line)
  }
  expect(await diagnosis()).toEqual([{ state: 'failed', says: expect.stringMatching(line) }])
}

const OTHER_RECORD =
  /Partition 0 of "[^"]+" is not the log that was read: at offset 299 .*, leader epoch 0\) was read, and now there is a record of .*with another KAFKA_GROUP and POSTGRES_DB.*To continue at offset 300 .*"web-traffic accept-log --partition 0"/
const ENDS_TOO_SOON =
  /Partition 0 of "[^"]+" ends at offset 200, but it was read to offset 300\..*"web-traffic accept-log --partition 0"/

test('a topic that was re-created with more records while no worker ran is refused until its log is accepted', async () => {
  await startPipeline()
  await pipeline.send(events(300, 'read.example'))
  await pipeline.untilAccounted(300)
  await until(async () => (await health()).code === 0)
  expect(await diagnosis()).toEqual([
    { state: 'ok', says: 'The last counted record is still in place, in 1 of 1 partitions.' },
  ])
  await pipeline.killWorkers()
  await recreateTopic(400)
  pipeline.startWorker()
  await expectRefused(OTHER_RECORD)
  expect((await pipeline.untilDone(300)).records).toBe(300)

  const { topic, group } = pipeline.config.settings
  const unknown = await pipeline.attempt('accept-log', '--partition', '4')
  expect(unknown).toMatchObject({ code: 1, stdout: '' })
  expect(unknown.stderr).toBe(`"${group}" has not read partition 4 of "${topic}" yet.\n`)
  expect(await pipeline.command('accept-log', '--partition', '0')).toBe(
    `Accepted partition 0 of "${topic}": reading continues at offset 300.\n`,
  )
  await pipeline.untilAccounted(400)
  await pipeline.send(events(50, 'new.example'))
  await pipeline.untilAccounted(450)
  expect(await hitsByHost()).toEqual([{ host: 'read.example', hits: 300 }])
  expect(await pipeline.query('select sum(num_hits)::int as late from late_web_traffic')).toEqual([
    { late: 150 },
  ])
  await until(async () => (await health()).code === 0)
  expect(await diagnosis()).toMatchObject([{ state: 'ok' }])
}, 300_000)

test('a topic that was re-created with fewer records while it was read is refused, also once it has grown', async () => {
  await startPipeline()
  await pipeline.send(events(300, 'read.example'))
  await pipeline.untilAccounted(300)
  await recreateTopic(200)
  await expectRefused(ENDS_TOO_SOON)
  await pipeline.send(events(500, 'new.example'))
  await expectRefused(OTHER_RECORD)
  expect((await pipeline.sums()).records).toBe(300)
  expect((await pipeline.untilDone(300)).records).toBe(300)
}, 300_000)

test('a log that was accepted and ends before the position is waited for', async () => {
  await startPipeline()
  await pipeline.send(events(300, 'read.example'))
  await pipeline.untilAccounted(300)
  await pipeline.command('stop')
  await recreateTopic(200)
  await pipeline.command('start')
  expect(await failure()).toMatch(ENDS_TOO_SOON)
  const { topic } = pipeline.config.settings
  expect(await pipeline.command('accept-log')).toBe(
    `Accepted partition 0 of "${topic}": reading continues at offset 300. The log ends at offset 200; counting ` +
      'resumes once it reaches 300.\n',
  )
  await until(async () => (await health()).code === 0)
  expect(await diagnosis()).toMatchObject([{ state: 'warning' }])
  await pipeline.send(events(150, 'new.example'))
  await pipeline.untilAccounted(350)
  expect((await pipeline.untilDone(350)).records).toBe(350)
}, 300_000)

test('a log whose last counted record retention has removed is the same log', async () => {
  await startPipeline()
  await pipeline.send(events(300, 'read.example'))
  await pipeline.untilAccounted(300)
  await pipeline.command('stop')
  await pipeline.send(events(100, 'read.example'))
  const { topic } = pipeline.config.settings
  await pipeline.withAdmin(async admin => {
    // kafkajs finds the partition's leader only in metadata that another request has loaded.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '300' }] })
  })
  expect(await diagnosis()).toEqual([])
  await pipeline.command('start')
  await pipeline.untilAccounted(400)
  await pipeline.untilDone(400)
  expect(await pipeline.status()).toMatchObject({ lag: 0, totals: { records: 400, rejected: 0 } })
}, 300_000)

test('a log that ends in transaction markers is the same log', async () => {
  await startPipeline()
  const { topic } = pipeline.config.settings
  const producer = pipeline.kafka.producer({
    transactionalId: topic,
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  const transact = async (end: 'commit' | 'abort', count: number) => {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: events(count, 'read.example') })
    await transaction[end]()
  }
  await transact('commit', 30)
  await transact('abort', 5)
  await transact('abort', 5)
  await pipeline.untilAccounted(30)
  // 40 records and three markers.
  await until(async () => (await pipeline.status()).partitions[0]!.position === 43)
  for (const [restart, end] of (['commit', 'abort', 'commit'] as const).entries()) {
    await pipeline.command('stop')
    if (restart > 0) await transact(end, 10)
    await pipeline.command('start')
    const position = 43 + 11 * restart
    await until(async () => (await pipeline.status()).partitions[0]!.position === position)
    await until(async () => (await health()).code === 0)
    expect(await diagnosis()).toMatchObject([{ state: 'ok' }])
  }
  await producer.disconnect()
  await pipeline.untilAccounted(40)
}, 300_000)
