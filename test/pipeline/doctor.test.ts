import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { open, type CountryResponse } from 'maxmind'
import type { Finding } from '../../src/pipeline/doctor/finding'
import { LookUpService } from '../support/lookup-service'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

const AGE = /^The country database is (\d+) days old/
const CLOSED = 'localhost:1'

let pipeline: TestPipeline

beforeEach(() => {
  pipeline = new TestPipeline({ LOG_LEVEL: 'error' })
})

afterEach(() => pipeline.destroy())

/** The findings by state, and the exit code. */
async function examine(settings: Record<string, string> = {}) {
  const { stdout, code } = await pipeline.attemptWith(settings, 'doctor', '--json')
  const findings = JSON.parse(stdout) as Finding[]
  // The age of the country database changes by itself, and has its own test.
  const those = (wanted: Finding['state']) =>
    findings
      .filter(({ state, says }) => state === wanted && !AGE.test(says))
      .map(({ part, says }) => `${part}: ${says}`)
  return { ok: those('ok'), warnings: those('warning'), failed: those('failed'), code }
}

const containing = (text: string) => expect.stringContaining(text)
const matching = (pattern: string | RegExp) => expect.stringMatching(pattern)

test('before anything is set up, each part says what to do', async () => {
  const { topic } = pipeline.config.settings
  const { failed, warnings, code } = await examine()
  expect(failed).toEqual([
    matching(`^Kafka: The topic "${topic}" does not exist`),
    matching('^Postgres: .* has no database .* run "web-traffic migrate"'),
  ])
  expect(warnings).toEqual([
    matching('^Temporal: No worker polls the task queue .* with role windows or all'),
    matching('^Temporal: No worker polls the task queue .*/pollers".* with role pollers or all'),
  ])
  expect(code).toBe(1)
})

test('each unreachable server is one finding, and does not stop the other checks', async () => {
  const { failed, ok, code } = await examine({
    KAFKA_URL: CLOSED,
    POSTGRES_URL: `postgresql://${CLOSED}/`,
    TEMPORAL_ADDRESS: CLOSED,
  })
  expect(failed).toEqual([
    containing('No Kafka broker answers'),
    matching(/^Postgres: Postgres at .* is unreachable/),
    containing('No Temporal server answers'),
  ])
  expect(ok).toEqual([])
  expect(code).toBe(1)
})

test('a country database older than four months is a warning, and a missing one a failure', async () => {
  const { metadata } = await open<CountryResponse>(
    require.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb'),
  )
  const days = (Date.now() - metadata.buildEpoch.getTime()) / 86_400_000
  const { stdout } = await pipeline.attempt('doctor', '--json')
  const age = (JSON.parse(stdout) as Finding[]).find(({ says }) => AGE.test(says))!
  expect(Number(AGE.exec(age.says)![1])).toBe(Math.floor(days))
  expect(age.state).toBe(days > 120 ? 'warning' : 'ok')
  const { failed } = await examine({ GEO_DATABASE: 'not-there.mmdb' })
  expect(failed).toContainEqual(matching(/^countries: GEO_DATABASE: not-there.mmdb cannot be read/))
})

test('a running pipeline is healthy, and what will cause trouble later is a warning', async () => {
  await pipeline.createTopic(2)
  // The broker's default allows producers' clocks to be far ahead.
  expect((await examine()).warnings).toContainEqual(
    matching(/^Kafka: .*\(CreateTime\), which may be .*after\.max\.ms=60000\.$/),
  )
  await pipeline.alterTopic({ 'message.timestamp.after.max.ms': '60000' })
  await pipeline.command('migrate')
  await pipeline.command('start')
  pipeline.startWorker()
  await until(async () => (await examine()).warnings.length === 0)
  const well = await examine()
  expect(well).toMatchObject({ warnings: [], failed: [], code: 0 })
  const { group, topic } = pipeline.config.settings
  expect(well.ok).toEqual(
    expect.arrayContaining([
      `Kafka: "${topic}" has 2 partitions.`,
      containing('(CreateTime), which may be up to 1m ahead'),
      `Postgres: The schema belongs to "${group}".`,
      `Temporal: The task queue "${group}" has 1 worker.`,
      `Temporal: The task queue "${group}/pollers" has 1 worker.`,
      'Temporal: The search attributes are registered.',
    ]),
  )

  await pipeline.alterTopic({
    'retention.ms': '600000',
    'cleanup.policy': 'compact,delete',
    'message.timestamp.type': 'LogAppendTime',
  })
  const later = await examine({ POLLERS: '3' })
  expect(later.warnings).toEqual([
    containing('2 partitions for 3 pollers'),
    containing('Kafka keeps records for 10m'),
    containing('is compacted'),
  ])
  expect(later.ok).toEqual(expect.arrayContaining([containing("Records have the broker's timestamp")]))
  expect(later.code).toBe(0)

  // Another pipeline that uses this one's database by mistake.
  const other = await examine({ KAFKA_GROUP: 'another' })
  expect(other.failed).toEqual([matching(`^Postgres: This schema belongs to the pipeline "${group}"`)])
  await pipeline.query(`delete from kysely_migration where name = '0002-replay'`)
  expect((await examine()).failed).toEqual([containing('lacks 0002-replay: run "web-traffic migrate"')])
}, 120_000)

test('the lookup service is asked once, and a refusal is a failure that names the setting', async () => {
  const key = 'SECRET0123456789'
  const service = new LookUpService(key)
  const settings = { GEO_PROVIDER: 'ip2location', GEO_URL: await service.start(), IP_CODING_KEY: key }
  try {
    expect((await examine(settings)).ok).toContain('countries: The lookup service answers.')
    expect(service.asked).toHaveLength(1)
    service.mood = 'refusing'
    expect((await examine(settings)).failed).toEqual(
      expect.arrayContaining([matching(/^countries: .*set IP_CODING_KEY/)]),
    )
  } finally {
    await service.stop()
  }
}, 60_000)
