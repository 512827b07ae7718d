import { afterEach, beforeEach, expect, test } from '@jest/globals'
import type { LogRecord } from '../../src/core/event/log-record'
import { Ip2Location } from '../../src/geo/ip2location'
import { LookupError } from '../../src/geo/lookup'
import { RemoteLookup } from '../../src/geo/remote-lookup'
import { countryOf, LookUpService, type Mood } from '../support/lookup-service'
import { until } from '../support/until'

const KEY = 'SECRET0123456789'
const never = new AbortController().signal

let service: LookUpService
let api: Ip2Location
let logged: unknown[]

beforeEach(async () => {
  service = new LookUpService(KEY)
  api = new Ip2Location(await service.start(), KEY, 1_000)
  logged = []
})

afterEach(() => service.stop())

function lookup(bounds: ConstructorParameters<typeof RemoteLookup>[1] = {}): RemoteLookup {
  const logger = { warn: (entry: unknown) => void logged.push(entry), info: () => undefined }
  return new RemoteLookup(address => api.country(address), { rate: 10_000, firstWait: 20, ...bounds }, logger)
}

const addresses = (count: number) => Array.from({ length: count }, (_, i) => `8.8.${i >> 8}.${i & 255}`)

const record = (ip: unknown): LogRecord => ({
  offset: 0,
  timestamp: Date.now(),
  value: Buffer.from(JSON.stringify({ event_time: '2026-01-01T00:00:00Z', host: 'a.example', ip })),
})

async function failureOf(asked: Promise<unknown>): Promise<LookupError> {
  const error: unknown = await asked.catch((e: unknown) => e)
  expect(error).toBeInstanceOf(LookupError)
  return error as LookupError
}

test.each<[Mood, LookupError['kind'], RegExp]>([
  ['too often', 'transient', /429/],
  ['broken', 'transient', /500/],
  ['garbage', 'transient', /invalid answer/],
  ['silent', 'transient', /does not answer within 1000 ms/],
  ['refusing', 'permanent', /401.*IP_CODING_KEY/],
])('a service that is %s causes a %s failure without the address and the key', async (mood, kind, says) => {
  service.mood = mood
  const failure = await failureOf(api.country('8.8.4.4'))
  expect(failure).toMatchObject({ kind, message: expect.stringMatching(says) })
  const all = JSON.stringify([failure, failure.message, failure.stack, failure.cause])
  expect(all).not.toContain('8.8.4.4')
  expect(all).not.toContain(KEY)
})

test('a missing service is a transient failure', async () => {
  const failure = await failureOf(new Ip2Location('http://127.0.0.1:1/', KEY).country('8.8.4.4'))
  expect(failure).toMatchObject({ kind: 'transient', message: expect.stringContaining('cannot be reached') })
})

test('the Retry-After header sets the wait', async () => {
  service.mood = 'too often'
  expect(await failureOf(api.country('8.8.4.4'))).toMatchObject({ retryAfter: 1_000 })
})

test.each<Mood>(['unknown', 'no address'])(
  'an address that the service does not know (%s) has no country',
  async mood => {
    service.mood = mood
    expect(await api.country('8.8.4.4')).toBe('??')
  },
)

test('only public addresses of usable events are looked up, each once', async () => {
  const geo = lookup()
  const records = ['8.8.8.8', ' 8.8.8.8 ', '::ffff:8.8.8.8', '10.0.0.1', 'x', 7, '1.1.1.2'].map(record)
  const unusable = { ...record('9.9.9.9'), value: Buffer.from('{"ip":"9.9.9.9"}') }
  const unknown = geo.unknownOf([...records, unusable])
  expect(unknown).toEqual(['8.8.8.8', '1.1.1.2'])
  await Promise.all([geo.resolve(unknown, never), geo.resolve(unknown, never)])
  expect(service.asked.sort()).toEqual(['1.1.1.2', '8.8.8.8'])
  expect(geo.unknownOf(records)).toEqual([])
  expect(['::ffff:8.8.8.8', '10.0.0.1', 'x'].map(geo.locate)).toEqual([countryOf('8.8.8.8'), '??', '??'])
})

test('an address that was not looked up is not guessed', () => {
  expect(() => lookup().locate('8.8.8.8')).toThrow('must be looked up before it is counted')
})

test('lookups respect the maximum rate and concurrency', async () => {
  const began = Date.now()
  await lookup({ rate: 100, concurrency: 3 }).resolve(addresses(40), never)
  expect(Date.now() - began).toBeGreaterThanOrEqual(380)
  await lookup({ concurrency: 3 }).resolve(addresses(100), never)
  expect(service.mostUnderWay).toBe(3)
})

test('the least recently used address is evicted', async () => {
  const geo = lookup({ cached: 2, concurrency: 1 })
  await geo.resolve(['8.8.8.1'], never)
  await geo.resolve(['8.8.8.2'], never)
  geo.unknownOf([record('8.8.8.1')])
  await geo.resolve(['8.8.8.3'], never)
  expect(geo.unknownOf(['8.8.8.1', '8.8.8.2', '8.8.8.3'].map(record))).toEqual(['8.8.8.2'])
})

test('a transient failure is retried, visibly, until the service recovers', async () => {
  service.mood = 'broken'
  const geo = lookup()
  const resolved = geo.resolve(addresses(20), never)
  await until(() => (geo.trouble?.attempt ?? 0) >= 2)
  expect(geo.trouble).toMatchObject({ state: 'retrying', reason: expect.stringContaining('500') })
  expect(logged).toContainEqual(geo.trouble)
  service.mood = 'well'
  await resolved
  expect(geo.trouble).toBeUndefined()
  expect(addresses(20).map(geo.locate)).toEqual(addresses(20).map(countryOf))
})

test('a persistent failure ends the wait with its reason, and a permanent one ends it at once', async () => {
  service.mood = 'broken'
  expect((await failureOf(lookup({ maxWait: 1_000 }).resolve(addresses(1), never))).message).toContain('500')
  expect(service.asked.length).toBeGreaterThan(1)
  service.mood = 'refusing'
  service.asked.length = 0
  const failure = await failureOf(lookup({ concurrency: 1 }).resolve(addresses(5), never))
  expect(failure).toMatchObject({ kind: 'permanent', retryAfter: 30_000 })
  expect(service.asked).toHaveLength(1)
})

test('an abort ends the wait', async () => {
  service.mood = 'broken'
  const aborted = new AbortController()
  const geo = lookup({ firstWait: 60_000, maxWait: 120_000 })
  const resolved = geo.resolve(addresses(1), aborted.signal)
  await until(() => geo.trouble !== undefined)
  aborted.abort()
  await expect(resolved).rejects.toMatchObject({ name: 'AbortError' })
})
