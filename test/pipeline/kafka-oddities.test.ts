import { afterEach, expect, test } from '@jest/globals'
import { TestPipeline } from '../support/pipeline'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

/** In a window that is over. */
const HOUR_AGO = Date.now() - 3_600_000

const event = (host: string) =>
  JSON.stringify({ event_time: HOUR_AGO, host, referrer: '', ip: '193.0.6.139' })

const events = (count: number, host: string, partition = 0) =>
  Array.from({ length: count }, () => ({ partition, value: event(host) }))

async function startPipeline(partitions: number): Promise<void> {
  pipeline = new TestPipeline()
  await pipeline.begin(partitions)
  pipeline.startWorker()
}

const hitsByHost = () =>
  pipeline.query<{ host: string; hits: number }>(
    'select host, sum(num_hits)::int as hits from aggregated_web_traffic group by host order by host',
  )

test('of transactions only what was committed is counted, and a partition that ends in markers holds nothing up', async () => {
  await startPipeline(2)
  const producer = pipeline.kafka.producer({
    transactionalId: pipeline.config.settings.topic,
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  const { topic } = pipeline.config.settings
  const transact = async (end: 'commit' | 'abort', host: string, counts: [number, number]) => {
    const transaction = await producer.transaction()
    const messages = counts.flatMap((count, partition) => events(count, host, partition))
    await transaction.send({ topic, messages })
    await transaction[end]()
  }
  await transact('commit', 'first.example', [30, 20])
  await transact('abort', 'aborted.example', [5, 50])
  await transact('commit', 'second.example', [7, 0])
  for (let i = 0; i < 3; i++) await transact('abort', 'aborted.example', [1, 3])
  await producer.disconnect()

  await pipeline.untilAccounted(57)
  expect(await hitsByHost()).toEqual([
    { host: 'first.example', hits: 50 },
    { host: 'second.example', hits: 7 },
  ])
  // Aborted records and markers have offsets too: no lag means that they are passed.
  expect(await pipeline.status()).toMatchObject({
    lag: 0,
    windows: { open: 0, closed: 1 },
    totals: { records: 57, hits: 57 },
  })
}, 300_000)

test('records that retention removed while nobody read are counted as lost, and named', async () => {
  await startPipeline(1)
  await pipeline.send(events(300, 'read.example'))
  await pipeline.untilAccounted(300)
  await pipeline.command('stop')
  await pipeline.send(events(150, 'lost.example'))
  const { topic } = pipeline.config.settings
  await pipeline.withAdmin(async admin => {
    // kafkajs finds the partition's leader only in metadata that another request has loaded.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '420' }] })
  })
  await pipeline.command('start')
  await pipeline.untilAccounted(450)
  expect(await pipeline.query('select partition, reason, records from rejected_counts')).toEqual([
    { partition: 0, reason: 'lost_to_retention', records: '120' },
  ])
  expect(await pipeline.query('select kafka_offset, reason from rejected_events')).toEqual([
    { kafka_offset: '300', reason: 'lost_to_retention' },
  ])
  await pipeline.untilLogged('retention removed records before they were read')
}, 300_000)

test('offsets of the group that are gone, or were set back or forth by hand, decide nothing', async () => {
  await startPipeline(1)
  const { group: groupId, topic } = pipeline.config.settings
  const setOffset = (offset: string) =>
    pipeline.withAdmin(admin => admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset }] }))
  await pipeline.send(events(100, 'a.example'))
  await pipeline.untilAccounted(100)
  const tamperings = [
    () => pipeline.withAdmin(admin => admin.deleteGroups([groupId])),
    () => setOffset('0'),
    () => setOffset('400'),
  ]
  for (const [i, tamper] of tamperings.entries()) {
    await pipeline.command('stop')
    await pipeline.send(events(100, 'a.example'))
    await tamper()
    await pipeline.command('start')
    await pipeline.untilAccounted(200 + i * 100)
  }
  await pipeline.untilDone(400)
  expect(await pipeline.status()).toMatchObject({ lag: 0, totals: { records: 400, rejected: 0 } })
}, 300_000)

test('a second pipeline on a schema or a group that has one already is refused in a line', async () => {
  await startPipeline(1)
  const { group, topic } = pipeline.config.settings
  const refusals: [Record<string, string>, string][] = [
    [{ POSTGRES_DB: group }, `This schema belongs to the pipeline "${group}" on topic "${topic}"`],
    [
      { KAFKA_GROUP: group },
      `The pipeline "${group}" keeps the settings it was started with: topic is ${topic}, not `,
    ],
    [
      { KAFKA_GROUP: group, KAFKA_TOPIC: topic },
      `The pipeline "${group}" already runs and writes to another database`,
    ],
  ]
  for (const [shared, message] of refusals) {
    const second = new TestPipeline(shared)
    try {
      await second.command('migrate')
      if (shared.KAFKA_TOPIC === undefined) await second.createTopic(1)
      const refusal = await second.command('start').catch((error: { stderr: string }) => error.stderr)
      expect(refusal).toContain(message)
      expect(refusal.trimEnd()).not.toContain('\n')
    } finally {
      await second.db.destroy()
    }
  }
  // The first one goes on.
  await pipeline.send(events(10, 'a.example'))
  await pipeline.untilAccounted(10)
}, 300_000)
