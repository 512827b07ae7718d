import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals'
import { Kafka, type KafkaMessage, logLevel } from 'kafkajs'
import { UserError } from '../../src/errors'
import { produce } from '../../src/sources/produce'
import type { TrafficRecord } from '../../src/sources/record'

const brokers = process.env.KAFKA_URL!.split(',')

const client = (brokers: string[], retries = 5) =>
  new Kafka({ clientId: 'test', brokers, logLevel: logLevel.NOTHING, retry: { retries } })

jest.setTimeout(60_000)

describe('producing to a real Kafka', () => {
  const kafka = client(brokers)
  const admin = kafka.admin()
  const newTopic = () => `produce-${randomUUID()}`
  const values = (count: number): TrafficRecord[] =>
    Array.from({ length: count }, (_, i) => ({ value: `${i}` }))

  beforeAll(() => admin.connect())
  afterAll(() => admin.disconnect())

  it('deals records to the partitions round robin, in order, with the time of sending', async () => {
    const topic = newTopic()
    const before = Date.now()
    const progress: number[] = []
    const onProgress = ({ sent }: { sent: number }) => void progress.push(sent)
    const result = await produce({
      kafka,
      topic,
      partitions: 3,
      records: values(10_000),
      batchSize: 300,
      onProgress,
    })

    expect(result).toMatchObject({ sent: 10_000, partitions: 3 })
    expect(progress.at(-1)).toBe(10_000)
    const read = await readTopic(kafka, topic, 10_000)
    expect(read.map(messages => messages.length)).toEqual([3_334, 3_333, 3_333])
    read.forEach((messages, partition) => {
      expect(messages.map(text)).toEqual(messages.map((_, index) => `${index * 3 + partition}`))
      expect(messages.every(({ timestamp }) => Number(timestamp) >= before - 1_000)).toBe(true)
    })
  })

  it('sends a record to the partition it names, and bytes and null unchanged', async () => {
    const topic = newTopic()
    const bytes = Buffer.from([0xff, 0x00, 0x22])
    const records = [
      { value: bytes, partition: 1 },
      { value: null, partition: 1, malformed: true },
      { value: 'é' },
    ]
    const result = await produce({ kafka, topic, partitions: 2, records })
    expect(result).toMatchObject({ sent: 3, malformed: 1, late: 0 })
    const [first, second] = await readTopic(kafka, topic, 3)
    expect(first!.map(text)).toEqual(['é'])
    expect(second!.map(({ value }) => value)).toEqual([bytes, null])
  })

  it('limits batches by their size, too', async () => {
    const topic = newTopic()
    const records = Array.from({ length: 40 }, (_, i) => ({ value: `${i}${'x'.repeat(100_000)}` }))
    expect(await produce({ kafka, topic, partitions: 1, records })).toMatchObject({ sent: 40 })
    const [messages] = await readTopic(kafka, topic, 40)
    expect(messages!.map(message => parseInt(text(message), 10))).toEqual(records.map((_, i) => i))
  })

  it('rejects a missing topic without a number of partitions', async () => {
    const topic = newTopic()
    const attempt = produce({ kafka, topic, records: values(1) })
    await expect(attempt).rejects.toThrow(
      new UserError(`The topic "${topic}" does not exist. Pass --partitions N to create it.`),
    )
    expect(await admin.listTopics()).not.toContain(topic)
  })

  it('keeps the partitions of an existing topic', async () => {
    const topic = newTopic()
    await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true })
    const onTopic = jest.fn()
    const made = jest.fn((_partitions: number) => values(10))
    const result = await produce({ kafka, topic, partitions: 5, records: made, onTopic })
    expect(result).toMatchObject({ sent: 10, partitions: 2 })
    expect(onTopic).toHaveBeenCalledWith({ partitions: 2, created: false })
    expect(made).toHaveBeenCalledWith(2)
  })

  it('sends records of a slow source before a batch is full', async () => {
    const sent: number[] = []
    const slow = async function* () {
      yield { value: 'first' }
      while (sent.length === 0) await sleep(10)
      yield { value: 'second' }
    }
    const onProgress = (totals: { sent: number }) => void sent.push(totals.sent)
    const result = await produce({ kafka, topic: newTopic(), partitions: 1, records: slow(), onProgress })
    expect(result.sent).toBe(2)
  })

  it('sends what it has read when it is stopped, even if the source never ends', async () => {
    const topic = newTopic()
    const stop = new AbortController()
    const endless = async function* () {
      yield* values(2_500)
      setTimeout(() => stop.abort(), 20)
      await new Promise(() => undefined)
    }
    const result = await produce({ kafka, topic, partitions: 2, records: endless(), signal: stop.signal })
    expect(result.sent).toBe(2_500)
    expect((await readTopic(kafka, topic, 2_500)).map(messages => messages.length)).toEqual([1_250, 1_250])
  })

  it('reports a record that Kafka rejects, in one line', async () => {
    const records = [{ value: 'x'.repeat(2_000_000) }]
    const failure = await produce({ kafka, topic: newTopic(), partitions: 1, records }).catch(
      (error: unknown) => error,
    )
    expect(failure).toBeInstanceOf(UserError)
    expect((failure as Error).message).toMatch(/^Kafka failed after 0 records.*larger/)
  })

  it('fails with the error of its source after sending what was read before', async () => {
    const topic = newTopic()
    const broken = function* () {
      yield* values(1_500)
      throw new Error('the disk is gone')
    }
    await expect(produce({ kafka, topic, partitions: 1, records: broken() })).rejects.toThrow(
      'the disk is gone',
    )
    expect((await readTopic(kafka, topic, 1_500))[0]).toHaveLength(1_500)
  })
})

describe('producing without Kafka', () => {
  it('fails with one line that says what to do', async () => {
    const attempt = produce({ kafka: client(['127.0.0.1:1'], 0), topic: 'any', records: [] })
    await expect(attempt).rejects.toThrow(
      new UserError(
        'No Kafka broker answers at 127.0.0.1:1: start one with "web-traffic cluster up", or set KAFKA_URL.',
      ),
    )
  })
})

const text = (message: KafkaMessage) => message.value!.toString()

/** Waits for `count` messages of a topic; returns them by partition. */
async function readTopic(kafka: Kafka, topic: string, count: number): Promise<KafkaMessage[][]> {
  const consumer = kafka.consumer({ groupId: `read-${topic}` })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const partitions: KafkaMessage[][] = []
  let read = 0
  await new Promise<void>((resolve, reject) => {
    const eachMessage = ({ partition, message }: { partition: number; message: KafkaMessage }) => {
      ;(partitions[partition] ??= []).push(message)
      if (++read === count) resolve()
      return Promise.resolve()
    }
    consumer.run({ eachMessage }).catch(reject)
  })
  await consumer.disconnect()
  return partitions
}
