import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Message } from 'kafkajs'
import { ingestId, pollerId, windowId } from '../../src/contract/ids'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import { Collector, type CollectedSpan } from './collector'

const WINDOW = 4_000
/** The start of the first window, which is over before the test starts. */
const T0 = Math.floor(Date.now() / WINDOW) * WINDOW - 60_000
const REFERRER = 'https://private.example/page'
const ADDRESS = '198.51.100.77'
const KEY = 'collector-key-4711'

const collector = new Collector()
let pipeline: TestPipeline
let group: string

const event = (partition: number, at: number, fields: object = {}): Message => ({
  partition,
  value: JSON.stringify({ event_time: at, host: 'a.example', referrer: REFERRER, ip: ADDRESS, ...fields }),
})
const many = (n: number, make: (i: number) => Message) => Array.from({ length: n }, (_, i) => make(i))

/** Afterwards all records are counted, and the worker has ended and sent all its spans. */
beforeAll(async () => {
  pipeline = new TestPipeline({
    WINDOW_SIZE: `${WINDOW}ms`,
    WATERMARK_DELAY: '0s',
    OTEL_EXPORTER_OTLP_ENDPOINT: await collector.start(),
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_EXPORTER_OTLP_HEADERS: `x-key=${KEY}`,
    OTEL_SERVICE_NAME: 'counting',
  })
  group = pipeline.config.settings.group
  await pipeline.migrate()
  await pipeline.createTopic(2)
  await pipeline.command('start')
  const worker = pipeline.startWorker()
  // Two flushes for the first window; it waits for the other partition, which comes with the second.
  await pipeline.untilDone(await pipeline.send(many(30, i => event(0, T0 + i))))
  const sent = await pipeline.send([
    ...many(20, i => event(0, T0 + 100 + i)),
    ...many(40, i => event(0, T0 + WINDOW + i)),
    ...many(5, i => event(0, T0 + i)),
    ...many(7, () => ({ partition: 0, value: 'nonsense' })),
    ...many(10, i => event(1, T0 + i)),
  ])
  await pipeline.untilAccounted(30 + sent)
  await pipeline.command('verify')
  expect(await pipeline.stopWorker(worker)).toBe(0)
}, 120_000)

afterAll(async () => {
  await pipeline.destroy()
  await collector.stop()
})

const ofWorkflow = (name: string, id: string): CollectedSpan[] =>
  collector.named(name).filter(({ attributes }) => attributes.temporalWorkflowId === id)

/** The span names from the root of the trace to this span. */
function path(span: CollectedSpan): string[] {
  const parent = collector.parentOf(span)
  return parent ? [...path(parent), span.name] : [span.name]
}

test('every flush is a trace, and their counts add up to what is in Postgres', async () => {
  const flushes = collector.named('flush')
  const sum = (name: string) =>
    flushes.reduce((total, { attributes }) => total + Number(attributes[`web_traffic.${name}`]), 0)
  const { records, hits, late, rejected } = await pipeline.sums()
  expect([records, hits, late, rejected]).toEqual([112, 100, 5, 7])
  expect([sum('records'), sum('hits'), sum('late'), sum('rejected')]).toEqual([records, hits, late, rejected])
  expect(sum('bytes')).toBeGreaterThan(100)
  for (const flush of flushes) {
    expect(flush.parentId).toBeUndefined()
    expect(flush.failed).toBe(false)
    expect(flush.attributes).toMatchObject({ 'web_traffic.pipeline': group, 'web_traffic.poller': 1 })
  }
  expect(new Set(flushes.map(({ traceId }) => traceId)).size).toBe(flushes.length)
  const partitions = flushes.flatMap(({ attributes }) => attributes['web_traffic.partitions'])
  expect(new Set(partitions)).toEqual(new Set([0, 1]))
})

test('a flush contains the update of the ledger', () => {
  for (const flush of collector.named('flush')) {
    const [update] = collector.childrenOf(flush).filter(({ name }) => name === 'StartWorkflowUpdate:flush')
    expect(update!.attributes.temporalWorkflowId).toBe(ingestId(group))
    const handled = collector.childrenOf(update!)
    expect(handled.map(({ name }) => name)).toEqual(['HandleUpdate:flush'])
    expect(handled[0]!.attributes).toEqual(update!.attributes)
  }
})

test('a window is in the trace of the flush that opened it, with its activities', async () => {
  const rows = await pipeline.query<{ start: string }>(
    'select extract(epoch from window_start) * 1000 as start from traffic_windows order by 1',
  )
  expect(rows.map(({ start }) => Number(start))).toEqual([T0, T0 + WINDOW])
  for (const { start } of rows) {
    const [run, ...others] = ofWorkflow('RunWorkflow:window', windowId(group, Number(start)))
    expect(others).toEqual([])
    expect(path(run!)).toEqual(['flush', 'SignalWithStartWorkflow:window', 'RunWorkflow:window'])
    const steps = collector.childrenOf(run!).map(({ name }) => name)
    const taken = steps.filter(name => name !== 'RunActivity:recordExceptions')
    expect(taken.sort()).toEqual(['RunActivity:openWindow', 'RunActivity:writeWindow'])
  }
})

test('a window links to its other flushes and to the one that let it close', () => {
  const [run] = ofWorkflow('RunWorkflow:window', windowId(group, T0))
  const senders = run!.links.map(link => {
    const sender = collector.spans.find(({ spanId }) => spanId === link.spanId)!
    expect(sender.traceId).toBe(link.traceId)
    return `${String(link.attributes.signal)} of ${path(sender).join(' > ')}`
  })
  const signals = ofWorkflow('SignalWithStartWorkflow:window', windowId(group, T0))
  expect(signals.length).toBeGreaterThan(1)
  expect(senders.filter(sender => sender.startsWith('addDeltas'))).toEqual(
    Array.from({ length: signals.length - 1 }, () => 'addDeltas of flush > SignalWithStartWorkflow:window'),
  )
  expect(senders.filter(sender => sender.startsWith('close'))).toEqual([
    'close of flush > StartWorkflowUpdate:flush',
  ])
})

test('late and rejected records are recorded in the trace of the window that carries them', async () => {
  const rows = await pipeline.query<{ start: string; records: number }>(
    `select extract(epoch from window_start) * 1000 as start, sum(records)::int as records
     from exception_ranges group by window_start order by 1`,
  )
  expect(rows.reduce((sum, { records }) => sum + records, 0)).toBe(12)
  const recorded = collector.named('RunActivity:recordExceptions')
  for (const span of recorded)
    expect(path(span)).toEqual([
      'flush',
      'SignalWithStartWorkflow:window',
      'RunWorkflow:window',
      'RunActivity:recordExceptions',
    ])
  const recorders = new Set(recorded.map(({ attributes }) => attributes.temporalWorkflowId))
  expect(recorders).toEqual(new Set(rows.map(({ start }) => windowId(group, Number(start)))))
})

test('a command is the root of what it causes', () => {
  const [ledger] = ofWorkflow('RunWorkflow:ingest', ingestId(group))
  expect(path(ledger!)).toEqual(['web-traffic start', 'StartWorkflow:ingest', 'RunWorkflow:ingest'])
  const [poller] = ofWorkflow('RunWorkflow:poller', pollerId(group, 1))
  expect(path(poller!)).toEqual([...path(ledger!), 'RunWorkflow:poller'])
  const [verified] = collector.named('RunActivity:verifyWindows')
  expect(path(verified!)).toEqual([
    'web-traffic verify',
    'StartWorkflow:verify',
    'RunWorkflow:verify',
    'RunActivity:verifyWindows',
  ])
})

test('every span has its parent', () => {
  const orphans = collector.spans.filter(span => span.parentId !== undefined && !collector.parentOf(span))
  expect(orphans.map(({ name }) => name)).toEqual([])
})

test('exports have the configured service name and headers', async () => {
  await until(() => collector.requests.length > 0)
  for (const { url, headers } of collector.requests) {
    expect(url).toBe('/v1/traces')
    expect(headers['x-key']).toBe(KEY)
  }
  expect(new Set(collector.spans.map(({ service }) => service))).toEqual(new Set(['counting']))
})

test('no span contains data of an event or a secret', () => {
  expect(collector.text).toContain(group)
  for (const secret of [ADDRESS, 'private.example', 'a.example', KEY, 'nonsense'])
    expect(collector.text).not.toContain(secret)
  const password = pipeline.config.postgres.password
  if (password) expect(collector.text).not.toContain(password)
})
