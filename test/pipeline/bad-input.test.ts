import { afterEach, expect, test } from '@jest/globals'
import { TestPipeline } from '../support/pipeline'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

const NOW = Date.now()
const event = (fields: object) =>
  JSON.stringify({
    event_time: NOW - 3_600_000,
    host: 'a.example',
    referrer: '',
    ip: '193.0.6.139',
    ...fields,
  })

/** Each kind of bad record with the reason it is rejected for. */
const BAD: [string | Buffer | null, string][] = [
  ['{"host": "a.example"', 'invalid_json'],
  ['', 'invalid_json'],
  [Buffer.from([0xff, 0xfe, 0x00]), 'invalid_json'],
  ['null', 'not_an_object'],
  ['[1, 2]', 'not_an_object'],
  ['17', 'not_an_object'],
  [null, 'null_value'],
  [event({ event_time: undefined }), 'missing_event_time'],
  [event({ event_time: 'yesterday' }), 'invalid_event_time'],
  [event({ event_time: NOW + 3_600_000 }), 'future_event_time'],
  [event({ host: undefined, url: '/index.html' }), 'missing_host'],
  [event({ host: 'x'.repeat(256) }), 'host_too_long'],
]

const send = (values: (string | Buffer | null)[]) =>
  pipeline.send(values.map(value => ({ value, partition: 0 })))

async function startPipeline(): Promise<void> {
  await pipeline.begin(1)
  pipeline.startWorker()
}

test('every kind of bad record gets its row and its reason, is counted once, and stops nothing', async () => {
  pipeline = new TestPipeline()
  await startPipeline()
  const values = BAD.flatMap(([value]) => [value, event({ host: 'good.example' })])
  await send(values)
  await pipeline.untilAccounted(values.length)
  expect(await pipeline.sums()).toMatchObject({ hits: BAD.length, late: 0, rejected: BAD.length })
  const rows = await pipeline.query<{ kafka_offset: string; reason: string }>(
    'select kafka_offset, reason from rejected_events order by kafka_offset',
  )
  expect(rows).toEqual(BAD.map(([, reason], i) => ({ kafka_offset: String(2 * i), reason })))

  const shown = JSON.parse(await pipeline.command('rejected', '--show', '--json')) as {
    counts: { reason: string; records: number }[]
    records: { offset: number; reason: string; payload?: string | null }[]
  }
  expect(shown.counts.reduce((sum, { records }) => sum + records, 0)).toBe(BAD.length)
  const payloads = shown.records.map(({ offset, reason, payload }) => ({ offset, reason, payload }))
  expect(payloads.sort((a, b) => a.offset - b.offset)).toEqual(
    BAD.map(([value, reason], i) => ({
      offset: 2 * i,
      reason,
      payload: value && Buffer.from(value).toString(),
    })),
  )
  const one = await pipeline.command('rejected', '--reason', 'null_value', '--show')
  expect(one).toContain('offset 12: null_value')
  expect(one).toContain('(no value)')
  expect(one).not.toContain('invalid_json')
}, 300_000)

test('what was rejected is sent again once, mended by a command, and counted', async () => {
  pipeline = new TestPipeline()
  await startPipeline()
  const broken = ['a', 'b', 'c'].map(host => event({ host: `${host}.example` }).replace('event_time', 'time'))
  await send([...broken, null, 'hopeless', event({ host: 'good.example' })])
  await pipeline.untilAccounted(6)
  expect(await pipeline.sums()).toMatchObject({ hits: 1, rejected: 5 })

  const refused = await pipeline.attempt('rejected', '--republish', '--through', 'grep -v hopeless')
  expect(refused).toMatchObject({ code: 1, stdout: '' })
  const ends = await pipeline.withAdmin(admin => admin.fetchTopicOffsets(pipeline.config.settings.topic))
  expect(ends).toMatchObject([{ high: '6' }])
  const tooLarge = ['--republish', '--through', 'head -c 2000000 /dev/zero | tr "\\0" x']
  expect(await pipeline.attempt('rejected', ...tooLarge)).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^Kafka failed after 0 records were acknowledged: .*larger.*\n$/),
  })

  const mend = [
    '--republish',
    '--reason',
    'missing_event_time',
    '--through',
    'sed s/\'"time"\'/\'"event_time"\'/',
  ]
  const outcomes = [
    await pipeline.command('rejected', ...mend, '--json'),
    await pipeline.command('rejected', ...mend, '--json'),
  ]
  expect(outcomes.map(outcome => JSON.parse(outcome) as object)).toEqual([
    { republished: 3, withoutPayload: 0 },
    { republished: 0, withoutPayload: 0 },
  ])
  await pipeline.untilAccounted(9)
  const { hits, late, rejected } = await pipeline.sums()
  // Their window may have closed meanwhile.
  expect({ counted: hits + late, rejected }).toEqual({ counted: 4, rejected: 5 })
  expect(await pipeline.command('rejected', '--republish', '--reason', 'null_value')).toContain(
    'Skipped 1 record that Kafka no longer has or that have no value',
  )
}, 300_000)

test('text that Postgres cannot hold is replaced, and cut where it is too long; it stops no window', async () => {
  pipeline = new TestPipeline()
  await startPipeline()
  const values = [
    event({ host: 'nul\0.example', referrer: 'a\0b' }),
    event({ host: 'nul\uFFFD.example', referrer: 'a\uFFFDb' }),
    event({ host: 'half.example', referrer: 'x\uD800y' }),
    event({ host: 'long.example', referrer: 'x'.repeat(5_000) }),
    event({ host: 'wide.example', referrer: '😀'.repeat(1_024) }),
    Buffer.concat([
      Buffer.from(event({ host: 'bytes.example', referrer: 'MARK' }).split('MARK')[0]!),
      Buffer.from([0xc3, 0x28]),
      Buffer.from(event({ host: 'bytes.example', referrer: 'MARK' }).split('MARK')[1]!),
    ]),
  ]
  await send(values)
  await pipeline.untilAccounted(values.length)
  const rows = await pipeline.query(
    'select host, referrer, num_hits from aggregated_web_traffic order by host',
  )
  expect(rows).toEqual([
    { host: 'bytes.example', referrer: '\uFFFD(', num_hits: '1' },
    { host: 'half.example', referrer: 'x\uFFFDy', num_hits: '1' },
    { host: 'long.example', referrer: 'x'.repeat(2_048), num_hits: '1' },
    { host: 'nul\uFFFD.example', referrer: 'a\uFFFDb', num_hits: '2' },
    { host: 'wide.example', referrer: '😀'.repeat(1_024), num_hits: '1' },
  ])
}, 300_000)

test('a flood of bad records keeps its exact count while the rows that are stored stay bounded', async () => {
  pipeline = new TestPipeline()
  await startPipeline()
  const flood = Array.from({ length: 60_000 }, (_, i) => `not JSON ${i}`)
  await send([...flood, event({})])
  await pipeline.untilAccounted(flood.length + 1)
  expect(await pipeline.sums()).toMatchObject({ hits: 1, rejected: flood.length })
  const [stored] = await pipeline.query<{ rows: string }>('select count(*) as rows from rejected_events')
  expect(Number(stored!.rows)).toBeGreaterThan(0)
  expect(Number(stored!.rows)).toBeLessThanOrEqual(10_000)
}, 300_000)
