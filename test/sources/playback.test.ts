import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Kafka, logLevel, type KafkaMessage } from 'kafkajs'
import { program } from '../../src/dev/program'
import { readLog } from '../../trials/oracle/read-log'
import { until } from '../support/until'

interface Sent {
  event_time: string
  [field: string]: unknown
}

const kafka = new Kafka({ brokers: process.env.KAFKA_URL!.split(','), logLevel: logLevel.NOTHING })
const folder = mkdtempSync(join(tmpdir(), 'web-traffic-replay-'))
const admin = kafka.admin()
const topics: string[] = []

beforeAll(() => admin.connect())
afterAll(async () => {
  await admin.deleteTopics({ topics })
  await admin.disconnect()
  rmSync(folder, { recursive: true })
})

function start(source: string[], lines: string[]) {
  const topic = `replay-${randomUUID()}`
  topics.push(topic)
  const file = join(folder, topic)
  writeFileSync(file, lines.map(line => `${line}\n`).join(''))
  const args = ['produce', ...source.map(word => (word === 'FILE' ? file : word))]
  const child = spawn(process.execPath, [program, ...args, '--topic', topic, '--partitions', '1', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = Promise.all([textOf(child.stdout), once(child, 'exit')]).then(([output, [code]]) => ({
    code: code as number | null,
    summary: JSON.parse(output) as { sent: number; malformed: number | null; interrupted: boolean },
  }))
  const read = async () => (await readLog(kafka, topic))[0]!
  return { child, ended, read }
}

const at = (message: KafkaMessage) => Number(message.timestamp)
const sent = (message: KafkaMessage) => JSON.parse(message.value!.toString()) as Sent
const timeOf = (message: KafkaMessage) => Date.parse(sent(message).event_time)

describe('a log replayed in real time', () => {
  it('keeps its order, its gaps divided by the speed, and every other field', async () => {
    const log = Date.parse('2015-05-17T10:05:00Z')
    const event = (seconds: number, form: (time: number) => unknown = time => new Date(time).toISOString()) =>
      JSON.stringify({ n: seconds, host: 'é.example', event_time: form(log + seconds * 1_000) })
    const lines = [
      event(0),
      event(20, time => time / 1_000),
      'no event',
      event(5),
      event(21, time => `${new Date(time).toISOString().replace('T', ' ').slice(0, 19)}`),
      '{"host":"without.example"}',
      event(40, time => new Date(time + 7_200_000).toISOString().replace('Z', '+02:00')),
    ]
    const before = Date.now()
    const { ended, read } = start(['--ndjson', 'FILE', '--speed', '20'], lines)
    expect(await ended).toMatchObject({ code: 0, summary: { sent: 7, interrupted: false } })
    const messages = await read()

    for (const place of [2, 5]) expect(messages[place]!.value!.toString()).toBe(lines[place])
    const events = [0, 1, 3, 4, 6].map(place => messages[place]!)
    expect(events.map(message => sent(message).n)).toEqual([0, 20, 5, 21, 40])
    for (const message of events) expect(sent(message).host).toBe('é.example')

    // At twenty times the speed a second of the log is 50 ms of the clock.
    const [first] = events.map(timeOf)
    expect(events.map(message => timeOf(message) - first!)).toEqual([0, 1_000, 250, 1_050, 2_000])
    expect(first).toBeGreaterThanOrEqual(before)
    for (const message of events) expect(at(message)).toBeGreaterThanOrEqual(timeOf(message))
    for (const message of [events[0]!, events[1]!, events[3]!, events[4]!])
      expect(at(message) - timeOf(message)).toBeLessThan(900)
    expect(at(events[4]!) - at(events[0]!)).toBeGreaterThan(1_800)
  }, 30_000)

  it('can be an access log, and stops at once on SIGTERM during a gap', async () => {
    const line = (clock: string) =>
      `203.0.113.9 - - [17/May/2015:${clock} +0200] "GET / HTTP/1.1" 200 1 "-" "curl/8.0"`
    const before = Date.now()
    const source = ['--access-log', 'FILE', '--host', 'www.example.com', '--speed', '1']
    const lines = ['what is this', line('10:05:03'), line('10:05:04'), line('22:05:04')]
    const { child, ended, read } = start(source, lines)
    await until(async () => (await admin.listTopics()).includes(topics.at(-1)!))
    await until(async () => (await admin.fetchTopicOffsets(topics.at(-1)!))[0]!.high === '3')
    const stopped = Date.now()
    child.kill('SIGTERM')
    expect(await ended).toEqual({
      code: 0,
      summary: expect.objectContaining({ sent: 3, malformed: 1, interrupted: true }) as unknown,
    })
    expect(Date.now() - stopped).toBeLessThan(5_000)
    const [, ...events] = await read()
    expect(events).toHaveLength(2)
    expect(timeOf(events[1]!) - timeOf(events[0]!)).toBe(1_000)
    expect(timeOf(events[0]!)).toBeGreaterThanOrEqual(before)
    expect(sent(events[0]!)).toMatchObject({ host: 'www.example.com', ip: '203.0.113.9', referrer: '-' })
  }, 30_000)
})
