import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Message } from 'kafkajs'
import { TemporalPort } from '../../src/activities/pipeline-port'
import { anyFreePort } from '../../src/dev/cluster/ports'
import type { Delta } from '../../src/core/window/protocol'
import { ingestId } from '../../src/contract/ids'
import { withTemporal } from '../../src/temporal/connection'
import { NO_STAGING } from '../activities/support'
import { columns } from '../postgres/support'
import { TestPipeline } from '../support/pipeline'
import { Relay } from '../../trials/relay'
import { findPrometheus, PrometheusServer } from '../support/prometheus'
import { until } from '../support/until'
import { Scrape } from './exposition'
import { alertRules, dashboards, selectors } from './expressions'

const WINDOW = 2_000
const MAX_GROUPS = 20
/** The start of the first window, old enough for every window of the test to be over. */
const T0 = Math.floor(Date.now() / WINDOW) * WINDOW - 60_000

const found = findPrometheus()
if ('reason' in found) console.warn(`The queries are not tested: ${found.reason}.`)
const prometheus = 'reason' in found ? undefined : new PrometheusServer(found)

const relay = new Relay()
let pipeline: TestPipeline
let workers: string[]
let sent = 0

beforeAll(async () => {
  await relay.open()
  workers = [`127.0.0.1:${await anyFreePort()}`, `127.0.0.1:${await anyFreePort()}`]
  pipeline = new TestPipeline({
    POSTGRES_URL: relay.url,
    WINDOW_SIZE: `${WINDOW}ms`,
    WATERMARK_DELAY: '0s',
    MAX_GROUPS: String(MAX_GROUPS),
    LOG_LEVEL: 'fatal',
  })
  await pipeline.begin(2, 2)
  for (const METRICS_ADDRESS of workers) pipeline.startWorker('all', { METRICS_ADDRESS })
  // After a rebalance between a flush and its `done`, both pollers would count its records.
  await until(async () => {
    const { partitions } = await pipeline.status()
    return (
      partitions
        .map(({ poller }) => poller)
        .sort()
        .join() === '1,2'
    )
  })
  await prometheus?.start(workers)
}, 120_000)

afterAll(async () => {
  await relay.open()
  await prometheus?.stop()
  await pipeline.destroy()
  await relay.close()
})

const scrapes = () => Promise.all(workers.map(worker => Scrape.of(worker)))

/** The sum over all workers. */
async function total(name: string, labels: Record<string, string> = {}): Promise<number> {
  const sums = (await scrapes()).map(scrape => scrape.sum(`web_traffic_${name}`, labels))
  if (sums.every(sum => sum === undefined)) throw new Error(`no worker has web_traffic_${name}`)
  return sums.reduce<number>((all, sum) => all + (sum ?? 0), 0)
}

/** The value that each worker reports. */
async function each(name: string, labels: Record<string, string> = {}): Promise<(number | undefined)[]> {
  return (await scrapes()).map(scrape => scrape.sum(`web_traffic_${name}`, labels))
}

async function stored(query: string): Promise<number> {
  const [row] = await pipeline.query<{ value: string | null }>(query)
  return Number(row?.value ?? 0)
}

const event = (partition: number, at: number, fields: object = {}): Message => ({
  partition,
  value: JSON.stringify({ event_time: at, host: 'a.example', ip: '8.8.8.8', ...fields }),
})

async function send(messages: Message[]): Promise<void> {
  sent += await pipeline.send(messages)
  await pipeline.untilAccounted(sent)
}

test('the counters add up to what was sent and to what is in Postgres', async () => {
  const many = <T>(n: number, make: (i: number) => T) => Array.from({ length: n }, (_, i) => make(i))
  await send([
    // Two windows, a third of the addresses without a country, and five late events.
    ...many(30, i => event(0, T0 + i * 10, { ip: i % 3 === 0 ? '10.0.0.1' : '8.8.8.8' })),
    ...many(30, i => event(0, T0 + WINDOW + i * 10, { ip: i % 3 === 0 ? '10.0.0.1' : '8.8.8.8' })),
    ...many(5, i => event(0, T0 + i * 10, { ip: '10.0.0.1' })),
    ...many(40, i => event(1, T0 + i * 10, { referrer: `https://r${i}.example/` })),
    ...many(10, () => ({ partition: 1, value: 'nonsense' })),
    ...many(4, () => ({ partition: 1, value: null })),
    ...many(3, () => event(1, T0, { host: '' })),
    ...many(2, () => event(1, Date.now() + 3_600_000)),
  ])

  expect(await total('records_total')).toBe(124)
  expect(await total('hits_total')).toBe(100)
  expect(await total('late_total', { cause: 'watermark' })).toBe(5)
  expect(await total('late_total', { cause: 'closed' })).toBe(0)
  expect(await total('rejected_total')).toBe(19)
  expect(await total('rejected_total', { reason: 'invalid_json' })).toBe(10)
  expect(await total('rejected_total', { reason: 'null_value' })).toBe(4)
  expect(await total('rejected_total', { reason: 'missing_host' })).toBe(3)
  expect(await total('rejected_total', { reason: 'future_event_time' })).toBe(2)
  expect(await total('rejected_unnamed_total')).toBe(0)
  expect(await total('unknown_country_total')).toBe(25)
  expect(await pipeline.sums()).toMatchObject({ records: 124, hits: 100, late: 5, rejected: 19, windows: 2 })

  await until(async () => (await total('window_writes_total', { outcome: 'written' })) === 2)
  expect(await total('window_close_delay_seconds_count')).toBe(2)
  // They were due a minute ago.
  expect(await total('window_close_delay_seconds_sum')).toBeGreaterThan(2 * 50)
  expect(await total('window_rows_sum')).toBe(await stored('select sum(groups) as value from window_results'))
  const other = `select sum(num_hits) as value from aggregated_web_traffic where referrer = '(other)'`
  expect(await total('folded_hits_total')).toBe(await stored(other))
  expect(await stored(other)).toBeGreaterThan(0)
  expect(await total('step_duration_seconds_count', { step: 'writeWindow' })).toBe(2)
  expect(await total('flush_records_sum')).toBe(124)
  expect(await total('poller_active')).toBe(2)
}, 60_000)

test('every worker reports the same values for the whole pipeline', async () => {
  const log = await pipeline.withAdmin(admin => admin.fetchTopicOffsets(pipeline.config.settings.topic))
  await until(async () => (await each('ledger_records')).every(records => records === 124))
  // Windows close after their records are done, so a worker may have asked the ledger in between.
  await until(async () => (await each('closed_windows')).every(windows => windows === 2))
  for (const { partition, high } of log)
    for (const name of ['partition_end', 'partition_position'])
      expect(await each(name, { partition: String(partition) })).toEqual([Number(high), Number(high)])
  const figures = [
    ['ledger_records', { outcome: 'hits' }, 100],
    ['ledger_records', { outcome: 'late' }, 5],
    ['ledger_records', { outcome: 'rejected' }, 19],
    ['partition_lag', {}, 0],
    ['closed_windows', {}, 2],
    ['open_windows', {}, 0],
    ['pollers_wanted', {}, 2],
    ['window_size_seconds', {}, 2],
    ['ledger_answers', {}, 1],
    ['stuck_windows', {}, 0],
    ['waiting_workflows', {}, 0],
    ['blocked_workflows', {}, 0],
    ['partition_watermark_timestamp_seconds', { partition: '0' }, (T0 + WINDOW + 290) / 1_000],
  ] as const
  for (const [name, labels, value] of figures)
    expect({ name, values: await each(name, labels) }).toEqual({ name, values: [value, value] })
}, 60_000)

test('repeats, overlaps and late events are counted by kind', async () => {
  // The window has closed without this idle partition.
  await send([event(1, T0 + 500)])
  await until(async () => (await total('late_total', { cause: 'closed' })) === 1)

  const open = Math.floor((Date.now() + 50_000) / WINDOW) * WINDOW
  sent += await pipeline.send([event(0, open)])
  await pipeline.untilDone(sent)
  const offset = 65
  const delta = (last: number): Delta => {
    const range = { partition: 0, from: offset, basis: null, first: offset, last }
    return { ...range, hits: 1, ...columns(['a.example', '', 'US', 1]) }
  }
  const beyond = offset + 5
  const range = { partition: 0, from: beyond, basis: null, first: beyond, last: beyond }
  const exceptions = { records: 1, late: [], rejected: { x: 1 }, samples: [] }
  const onlyRejected: Delta = { ...range, hits: 0, ...columns(), exceptions }
  // As if a poller had recorded them and was killed before it sent the delta.
  await pipeline.query(
    `insert into exception_ranges (kafka_partition, range_from, window_start)
     values (0, ${beyond}, '${new Date(open).toISOString()}')`,
  )
  const { settings, taskQueue } = pipeline.config
  await withTemporal(async client => {
    const input = { settings, taskQueue, poller: 1 }
    const port = new TemporalPort(client, NO_STAGING, input, new AbortController().signal)
    const deltas = [delta(offset), delta(offset + 1), onlyRejected]
    await port.send(
      new Map([
        [open, deltas.map(delta => ({ delta, bytes: 1_000 }))],
        // A closed window that has applied a later offset.
        [T0, [{ delta: { ...delta(10), first: 10 }, bytes: 1_000 }]],
      ]),
    )
  })
  // The open window's workflow drops one delta, Postgres the other one and the exceptions.
  await until(async () => (await total('repeats_total', { of: 'delta' })) === 2)
  await until(async () => (await total('repeats_total', { of: 'exceptions' })) === 1)
  expect(await total('overlaps_total')).toBe(1)
  expect((await pipeline.sums()).rejected).toBe(19)
}, 60_000)

test('Postgres failures are counted by kind, and a stuck window is reported until it is retried', async () => {
  await relay.close()
  sent += await pipeline.send([event(1, T0 + 10_000)])
  await until(async () => (await total('step_failures_total', { kind: 'postgres_transient' })) > 0)
  await relay.open()
  expect(await total('step_failures_total', { kind: 'postgres_permanent' })).toBe(0)
  await until(async () => (await pipeline.sums()).windows === 3)

  await pipeline.query('alter table window_results rename to elsewhere')
  sent += await pipeline.send([event(1, T0 + 20_000)])
  await until(async () => (await total('step_failures_total', { kind: 'postgres_permanent' })) > 0)
  await until(async () => (await each('stuck_windows')).every(stuck => stuck === 1))
  await pipeline.query('alter table elsewhere rename to window_results')
  await pipeline.command('retry')
  await until(async () => (await pipeline.sums()).windows === 4)
}, 90_000)

test('verify counts wrong windows, and replay its outcomes', async () => {
  await pipeline.command('verify')
  const closed = await stored(`select count(*) as value from window_results where status = 'closed'`)
  expect(await total('verified_windows_total', { outcome: 'right' })).toBe(closed)
  expect(await total('verified_windows_total', { outcome: 'wrong' })).toBe(0)

  await pipeline.query(
    `update aggregated_web_traffic set num_hits = num_hits + 1
      where window_start = '${new Date(T0 + 10_000).toISOString()}'`,
  )
  expect((await pipeline.attempt('verify')).code).toBe(1)
  expect(await total('verified_windows_total', { outcome: 'wrong' })).toBe(1)
  expect(await total('verify_differences_total')).toBe(1)
  await pipeline.command('replay', '--all')
  expect(await total('replayed_windows_total', { outcome: 'replayed' })).toBe(1)
  expect(await total('replayed_windows_total', { outcome: 'unchanged' })).toBe(closed - 1)
}, 60_000)

test('records that retention removed count under lost_to_retention', async () => {
  await pipeline.command('stop')
  expect(await total('poller_active')).toBe(0)
  const { topic } = pipeline.config.settings
  const ends = await pipeline.withAdmin(admin => admin.fetchTopicOffsets(topic))
  const end = Number(ends.find(({ partition }) => partition === 0)!.high)
  sent += await pipeline.send(Array.from({ length: 8 }, () => event(0, T0 + 30_000)))
  await pipeline.withAdmin(async admin => {
    await admin.fetchTopicOffsets(topic)
    const offset = String(end + 5)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset }] })
  })
  await pipeline.command('start', '--pollers', '2')
  await until(async () => (await total('rejected_total', { reason: 'lost_to_retention' })) === 5)
  expect(await total('records_total')).toBe(sent)
}, 60_000)

const withPrometheus = prometheus ? test : test.skip

withPrometheus(
  'every query of the dashboards, and every series of the alerts, has data',
  async () => {
    const { group } = pipeline.config.settings
    const substituted = (expr: string) =>
      expr.replaceAll('$__rate_interval', '2m').replaceAll('$pipeline', group).replaceAll('$worker', '.*')
    const panels = dashboards().flatMap(({ title, panels }) =>
      panels.flatMap(panel =>
        (panel.targets ?? []).map(({ expr }) => ({ of: `${title}: ${panel.title}`, expr })),
      ),
    )
    const queries = panels.concat(
      alertRules().flatMap(({ alert, expr }) => selectors(expr).map(expr => ({ of: alert, expr }))),
    )
    expect(queries.length).toBeGreaterThan(80)
    const empty = async () => {
      const answers = await Promise.all(queries.map(({ expr }) => prometheus!.query(substituted(expr))))
      return queries.filter((_, i) => !answers[i]!.some(Number.isFinite))
    }
    // The ledger's metrics are updated every few seconds.
    await until(async () => (await empty()).length === 0, 15_000).catch(() => undefined)
    expect(await empty()).toEqual([])

    const { active, errors } = await prometheus!.alerts()
    expect(errors).toEqual([])
    // The injected loss and difference.
    expect(active).toEqual(expect.arrayContaining(['WebTrafficGap', 'WebTrafficVerifyDifferences']))
    expect(active).not.toContain('WebTrafficScrapeDown')
    expect(active).not.toContain('WebTrafficLedgerSilent')
  },
  60_000,
)

test('if the ledger stops answering, its values become NaN', async () => {
  await withTemporal(client =>
    client.workflow.getHandle(ingestId(pipeline.config.settings.group)).terminate('to be silent'),
  )
  await until(async () => (await each('ledger_answers')).every(answers => answers === 0))
  for (const name of ['open_windows', 'partition_lag', 'pollers_wanted', 'ledger_records'])
    expect(await each(name)).toEqual([NaN, NaN])
}, 60_000)
