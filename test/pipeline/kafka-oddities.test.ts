import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from '@jest/globals'
import { ConfigResourceTypes, type Message } from 'kafkajs'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

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

/** The broker compresses the topic's new batches in this way, whatever the producer does. */
async function compressWith(type: string): Promise<void> {
  const { topic: name } = pipeline.config.settings
  const configEntries = [{ name: 'compression.type', value: type }]
  const resources = [{ type: ConfigResourceTypes.TOPIC, name, configEntries }]
  await pipeline.withAdmin(admin => admin.alterConfigs({ validateOnly: false, resources }))
}

/** The file in which the broker keeps the records of a partition. */
const segmentOf = (partition: number) => {
  const folder = `${pipeline.config.settings.topic}-${partition}`
  return join(process.env.WEB_TRAFFIC_TEST_CLUSTER!, 'kafka/data', folder, '00000000000000000000.log')
}

/** Where the batches are in the file, and the numbers of their codecs. */
function batchesIn(segment: Buffer): { at: number; size: number; codec: number }[] {
  const batches = []
  for (let at = 0; at < segment.length;) {
    const size = 12 + segment.readInt32BE(at + 8)
    batches.push({ at, size, codec: segment.readInt16BE(at + 21) & 7 })
    at += size
  }
  return batches
}

/** Changes a bit of a batch in the broker's file, or changes it back. */
async function flipBit(partition: number, { at, size }: { at: number; size: number }): Promise<void> {
  const file = await open(segmentOf(partition), 'r+')
  const byte = Buffer.alloc(1)
  const position = at + size - 30
  await file.read(byte, 0, 1, position)
  byte[0]! ^= 1
  await file.write(byte, 0, 1, position)
  await file.close()
}

test('every codec of Kafka is read, and a partition waits at a damaged batch until it is intact or gone', async () => {
  pipeline = new TestPipeline()
  await pipeline.begin(2)
  const codecs = ['uncompressed', 'gzip', 'snappy', 'lz4', 'zstd']
  for (const codec of codecs) {
    await compressWith(codec)
    await pipeline.send([0, 1].flatMap(partition => events(100, `${codec}.example`, partition)))
  }
  const batches = await Promise.all([0, 1].map(async p => batchesIn(await readFile(segmentOf(p)))))
  for (const inPartition of batches) expect(inPartition.map(({ codec }) => codec)).toEqual([0, 1, 2, 3, 4])
  const [lz4, zstd] = [batches[0]![3]!, batches[1]![4]!]
  await flipBit(0, lz4)
  await flipBit(1, zstd)

  pipeline.startWorker()
  await pipeline.untilDone(700)
  const problem =
    'Poller 1 cannot read partition 0 from offset 300 on: the batch there (lz4) is corrupt (checksum); ' +
    'partition 1 from offset 400 on: the batch there (zstd) is corrupt (checksum).'
  const status = async () => JSON.parse((await pipeline.attempt('status', '--json')).stdout) as object
  await until(async () => JSON.stringify(await status()).includes(problem))
  expect(await status()).toMatchObject({ problems: [problem], lag: 300, windows: { open: 1 } })
  await pipeline.untilLogged('a batch cannot be read')

  await flipBit(0, lz4)
  const { topic } = pipeline.config.settings
  await pipeline.withAdmin(async admin => {
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 1, offset: '500' }] })
  })
  await pipeline.untilAccounted(1_000)
  expect(await hitsByHost()).toEqual(
    [...codecs].sort().map(codec => ({ host: `${codec}.example`, hits: codec === 'zstd' ? 100 : 200 })),
  )
  expect(await pipeline.query('select partition, reason, records from rejected_counts')).toEqual([
    { partition: 1, reason: 'lost_to_retention', records: '100' },
  ])
  await until(async () => (await pipeline.attempt('status')).code === 0)
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

/** How long a segment takes records, ms. The next record begins another one. */
const SEGMENT = 100
const COMPACTED = {
  'cleanup.policy': 'compact',
  'min.cleanable.dirty.ratio': '0',
  'segment.ms': String(SEGMENT),
  'segment.bytes': String(1 << 20),
}

/** Events with ten keys. 300 of them nearly fill a segment, so that it stays a segment of its own. */
const padded = (count: number, host: string) =>
  Array.from({ length: count }, (_, i) => ({
    key: `key ${i % 10}`,
    value: JSON.stringify({ ...(JSON.parse(event(host)) as object), padding: 'x'.repeat(3_000) }),
  }))

test('records that compaction removed are counted as such, but markers and aborted records are not', async () => {
  pipeline = new TestPipeline()
  const { topic } = pipeline.config.settings
  await Promise.all([pipeline.migrate(), pipeline.createTopic(1)])
  await pipeline.alterTopic(COMPACTED)
  const refusal = await pipeline.attempt('start')
  expect(refusal).toMatchObject({ code: 1, stderr: expect.stringContaining(`"${topic}" is compacted`) })
  await pipeline.command('start', '--accept-compaction')

  const producer = pipeline.kafka.producer({
    transactionalId: topic,
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  const transact = async (end: 'commit' | 'abort', messages: Message[]) => {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages })
    await transaction[end]()
  }
  await pipeline.send(padded(300, 'removed.example'))
  await transact('commit', padded(10, 'removed.example'))
  await sleep(2 * SEGMENT)
  await pipeline.send(padded(300, 'kept.example'))
  await sleep(2 * SEGMENT)
  await pipeline.send([{ key: 'another', value: event('kept.example') }])
  await pipeline.alterBroker({ 'log.cleaner.backoff.ms': '100' })
  await until(async () => (await pipeline.readLog())[0]!.length === 11)
  await pipeline.alterBroker({})
  await pipeline.alterTopic({})
  await transact('abort', padded(5, 'aborted.example'))
  await transact('commit', padded(4, 'kept.example'))
  await producer.disconnect()

  pipeline.startWorker()
  await pipeline.untilAccounted(600 + 15)
  expect(await hitsByHost()).toEqual([{ host: 'kept.example', hits: 15 }])
  expect(await pipeline.query('select partition, reason, records from rejected_counts')).toEqual([
    { partition: 0, reason: 'removed_by_compaction', records: '600' },
  ])
  expect(await pipeline.status()).toMatchObject({ lag: 0, totals: { records: 615, hits: 15, rejected: 600 } })
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
