import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { UNLOCATED } from '../../src/core/counts/unknown-country'
import { Ip2Location } from '../../src/geo/ip2location'
import { FallbackLookup } from '../../src/geo/fallback-lookup'
import { RemoteLookup } from '../../src/geo/remote-lookup'
import { countryOf, LookUpService, type Mood } from '../support/lookup-service'
import { until } from '../support/until'

const never = new AbortController().signal
const quiet = { warn: () => undefined, info: () => undefined }
const record = (ip: string) => ({
  offset: 0,
  timestamp: 0,
  value: Buffer.from(JSON.stringify({ event_time: '2026-01-01T00:00:00Z', host: 'a.example', ip })),
})

let service: LookUpService
let remote: RemoteLookup
let fallback: FallbackLookup

beforeEach(async () => {
  service = new LookUpService('KEY')
  const api = new Ip2Location(await service.start(), 'KEY', 500)
  remote = new RemoteLookup(address => api.country(address), { rate: 10_000, firstWait: 10 }, quiet)
  fallback = new FallbackLookup(remote, quiet, { maxWait: 1_000, firstWait: 50, skipped: 10 })
})

afterEach(() => service.stop())

test('while the service answers, every address has its country', async () => {
  await fallback.resolve(['8.8.8.1', '8.8.8.2'], never)
  expect(['8.8.8.1', '8.8.8.2', '10.0.0.1'].map(fallback.locate)).toEqual([
    countryOf('8.8.8.1'),
    countryOf('8.8.8.2'),
    '??',
  ])
  expect(fallback.trouble).toBeUndefined()
})

test('an address that was neither looked up nor skipped is not guessed', () => {
  expect(() => fallback.locate('8.8.8.8')).toThrow('must be looked up before it is counted')
})

test.each<Mood>(['broken', 'too often', 'garbage', 'silent', 'refusing'])(
  'while the service is %s, unknown addresses are skipped, and the failure is visible',
  async mood => {
    await fallback.resolve(['8.8.8.1'], never)
    service.mood = mood
    await fallback.resolve(['8.8.8.2'], never)
    expect(['8.8.8.1', '8.8.8.2', '10.0.0.1'].map(fallback.locate)).toEqual([
      countryOf('8.8.8.1'),
      UNLOCATED,
      '??',
    ])
    expect(fallback.unknownOf(['8.8.8.1', '8.8.8.2', '8.8.8.3'].map(record))).toEqual(['8.8.8.3'])
    expect(fallback.trouble).toMatchObject({
      state: 'counting as unknown',
      reason: expect.stringMatching(/./),
    })
  },
)

test('nothing waits for a service that is known to fail', async () => {
  service.mood = 'silent'
  await fallback.resolve(['8.8.8.1'], never)
  const began = Date.now()
  for (let i = 0; i < 100; i++) await fallback.resolve([`8.8.9.${i}`], never)
  // Waiting for each answer would take 500 ms.
  expect(Date.now() - began).toBeLessThan(5_000)
})

test('concurrent lookups wait for the same failure only once', async () => {
  service.mood = 'broken'
  const all = Array.from({ length: 20 }, (_, i) => fallback.resolve([`8.8.9.${i}`], never))
  const asked = await all[0]!.then(() => service.asked.length)
  await Promise.all(all)
  expect(service.asked).toHaveLength(asked)
})

test('after the service recovers, skipped addresses are looked up again', async () => {
  service.mood = 'broken'
  await fallback.resolve(['8.8.8.1', '8.8.8.2'], never)
  service.mood = 'well'
  let asked = 0
  await until(async () => {
    await fallback.resolve([`8.8.9.${asked++}`], never)
    return fallback.trouble === undefined
  })
  const records = ['8.8.8.1', '8.8.8.2'].map(record)
  expect(fallback.unknownOf(records)).toEqual(['8.8.8.1', '8.8.8.2'])
  await fallback.resolve(fallback.unknownOf(records), never)
  expect(fallback.locate('8.8.8.2')).toBe(countryOf('8.8.8.2'))
})

test('a replay with the same service never uses skipped addresses', async () => {
  service.mood = 'broken'
  await fallback.resolve(['8.8.8.1'], never)
  expect(remote.unknownOf([record('8.8.8.1')])).toEqual(['8.8.8.1'])
  expect(() => remote.locate('8.8.8.1')).toThrow('must be looked up before it is counted')
  service.mood = 'well'
  await remote.resolve(['8.8.8.1'], never)
  expect(fallback.locate('8.8.8.1')).toBe(countryOf('8.8.8.1'))
})

test('an aborted lookup does not count as a failure of the service', async () => {
  service.mood = 'silent'
  const aborted = new AbortController()
  const resolved = fallback.resolve(['8.8.8.1'], aborted.signal)
  aborted.abort()
  await expect(resolved).rejects.toMatchObject({ name: 'AbortError' })
  expect(fallback.trouble).toBeUndefined()
})

test('the number of skipped addresses is bounded, and the newest are among them', async () => {
  service.mood = 'broken'
  for (let i = 0; i < 40; i++) {
    await fallback.resolve([`8.8.9.${i}`], never)
    expect(fallback.locate(`8.8.9.${i}`)).toBe(UNLOCATED)
  }
  expect(fallback.unknownOf([record('8.8.9.0')])).toEqual(['8.8.9.0'])
})
