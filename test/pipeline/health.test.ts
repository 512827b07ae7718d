import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { msToTs } from '@temporalio/common/lib/time'
import { PartitionAssigners, type Consumer, type PartitionAssigner } from 'kafkajs'
import type { Finding } from '../../src/pipeline/doctor/finding'
import { withTemporal } from '../../src/temporal/connection'
import { heartbeatOnce, JOIN, LEAVE } from '../support/new-protocol'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

let pipeline: TestPipeline

beforeEach(async () => {
  pipeline = new TestPipeline({ LOG_LEVEL: 'error' })
  await pipeline.begin(2)
}, 60_000)

afterEach(() => pipeline.destroy())

/** What `status` says is wrong, and how it ends. */
const health = (...options: string[]) => healthOf(pipeline, ...options)

async function healthOf(
  of: TestPipeline,
  ...options: string[]
): Promise<{ problems: string[]; code: number }> {
  const { stdout, stderr, code } = await of.attempt('status', '--json', ...options)
  // A worker that is still starting answers no query.
  if (stdout === '') return { problems: [stderr], code }
  return { problems: (JSON.parse(stdout) as { problems: string[] }).problems, code }
}

const HEALTHY = { problems: [], code: 0 }

test('status ends with 0 while all is well, and with 1 and the reason where it is not', async () => {
  pipeline.startWorker()
  await until(async () => (await health()).code === 0)
  expect(await health()).toEqual(HEALTHY)

  // One process runs one poller.
  await pipeline.command('scale', '2')
  const waiting =
    /^Poller [12] waits for a worker on the task queue ".*\/pollers": start one with "web-traffic worker", with role pollers or all\.$/
  await until(async () => (await health()).problems.some(problem => waiting.test(problem)))
  expect(await health()).toEqual({ problems: [expect.stringMatching(waiting)], code: 1 })
  expect((await pipeline.attempt('status')).stdout).toMatch(/^UNHEALTHY\n {2}Poller [12] waits for a worker/)
  pipeline.startWorker()
  await until(async () => (await health()).code === 0)

  await pipeline.command('pause')
  expect(await health()).toEqual({ problems: ['The pipeline is paused: it reads nothing.'], code: 1 })
  await pipeline.send(Array.from({ length: 30 }, (_, i) => ({ value: 'no event', partition: i % 2 })))
  const lag = 'The lag is 30 records, above the limit of 29.'
  expect(await health('--max-lag', '29')).toEqual({
    problems: ['The pipeline is paused: it reads nothing.', lag],
    code: 1,
  })
  expect((await health('--max-lag', '30')).problems).toHaveLength(1)
  await pipeline.command('resume')
  await pipeline.untilAccounted(30)
  await until(async () => (await health()).code === 0)
}, 180_000)

/** Of another program. */
let consumer: Consumer | undefined

afterEach(() => consumer?.disconnect())

/** Makes another program's consumer join the pipeline's group. */
async function joinGroup(protocol = 'RoundRobinAssigner'): Promise<void> {
  const { group: groupId, topic } = pipeline.config.settings
  const assigner: PartitionAssigner = config => ({ ...PartitionAssigners.roundRobin(config), name: protocol })
  consumer = pipeline.kafka.consumer({ groupId, partitionAssigners: [assigner] })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic] })
  await consumer.run({ eachMessage: () => Promise.resolve() })
}

const INTRUDER =
  /^The Kafka group "\S+" has members that are not pollers of this pipeline: "kafkajs" at [\d.]+, with partitions? ([\d, ]+) of "\S+"\. .* Stop them or give them another group; or start this pipeline under another KAFKA_GROUP/

test('a program that joins the group is named, and so is the partition that no poller reads then', async () => {
  pipeline.startWorker()
  await until(async () => (await health()).code === 0)
  await joinGroup()
  await until(async () => INTRUDER.test((await health()).problems[0] ?? ''))
  const { problems, code } = await health()
  expect({ problems, code }).toEqual({ problems: [expect.stringMatching(INTRUDER)], code: 1 })
  const taken = INTRUDER.exec(problems[0]!)![1]!
  expect(['0', '1']).toContain(taken)
  const { stdout } = await pipeline.attempt('doctor', '--json')
  expect(JSON.parse(stdout) as Finding[]).toContainEqual({
    part: 'group',
    state: 'failed',
    says: expect.stringMatching(INTRUDER),
  })

  await until(async () => (await health()).problems.length > 1)
  expect((await health()).problems).toEqual([
    expect.stringMatching(INTRUDER),
    expect.stringMatching(new RegExp(`^Partition ${taken} of "\\S+" is read by no poller`)),
  ])
  await consumer?.disconnect()
  await until(async () => (await health()).code === 0)
}, 180_000)

test('a poller that Kafka does not admit to the group says who is in it', async () => {
  await joinGroup('range')
  pipeline.startWorker()
  const refused =
    /^Poller 1 fails \(attempt \d+\): Kafka does not admit this poller to the group "\S+", whose members use another protocol: "kafkajs" at /
  await until(async () => (await health()).problems.some(problem => refused.test(problem)))
  expect(await health()).toEqual({
    problems: [expect.stringMatching(INTRUDER), expect.stringMatching(refused)],
    code: 1,
  })
  await consumer?.disconnect()
  await pipeline.send([{ value: 'no event' }])
  await pipeline.untilAccounted(1)
}, 180_000)

test('a program with the newer consumer protocol is noticed, although Kafka then hides the group', async () => {
  pipeline.startWorker()
  await until(async () => (await health()).code === 0)
  const { group, topic } = pipeline.config.settings
  const broker = pipeline.config.kafka.brokers[0]!
  const member = await heartbeatOnce(broker, { group, topic, member: '', epoch: JOIN })
  const hidden = /^The Kafka group .* not pollers of this pipeline: programs with group\.protocol=consumer/
  await until(async () => hidden.test((await health()).problems[0] ?? ''))
  expect((await health()).code).toBe(1)
  await heartbeatOnce(broker, { group, topic, member, epoch: LEAVE })
  await until(async () => (await health()).code === 0)
}, 180_000)

test('two pipelines with one group name each other', async () => {
  const namespace = `test-${randomUUID().slice(0, 8)}`
  const { group, topic } = pipeline.config.settings
  await withTemporal(({ workflowService }) =>
    workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod: msToTs('1 day') }),
  )
  const other = new TestPipeline({
    LOG_LEVEL: 'error',
    KAFKA_GROUP: group,
    TEMPORAL_NAMESPACE: namespace,
  })
  try {
    await other.createTopic(2)
    await until(async () => (await other.attempt('migrate')).code === 0)
    await other.command('start')
    pipeline.startWorker()
    other.startWorker()
    const names = (of: string, within: string) =>
      new RegExp(
        `, a poller of the pipeline of topic "${of}" in the Temporal namespace "${within}".* Stop them`,
      )
    const first = names(other.config.settings.topic, namespace)
    const second = names(topic, 'default')
    await until(async () => first.test((await health()).problems[0] ?? ''))
    await until(async () => second.test((await healthOf(other)).problems[0] ?? ''))
  } finally {
    await other.destroy()
  }
}, 180_000)
