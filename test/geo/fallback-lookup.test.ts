import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { UNLOCATED } from '../../src/core/counts/unknown-country'
import { Ip2Location } from '../../src/geo/ip2location'
import { FallbackLookup } from '../../src/geo/fallback-lookup'
import { RemoteLookup } from '../../src/geo/remote-lookup'
import { countryOf, LookUpService, type Mood } from '../support/look-up-service'
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
let passing: FallbackLookup

beforeEach(async () => {
  service = new LookUpService('KEY')
  const api = new Ip2Location(await service.start(), 'KEY', 100)
  remote = new RemoteLookup(address => api.country(address), { rate: 10_000, firstWait: 10 }, quiet)
  passing = new FallbackLookup(remote, quiet, { maxWait: 1_000, firstWait: 50, skipped: 10 })
})

afterEach(() => service.stop())

test('while the service answers everything is located', async () => {
  await passing.resolve(['8.8.8.1', '8.8.8.2'], never)
  expect(['8.8.8.1', '8.8.8.2', '10.0.0.1'].map(passing.locate)).toEqual([
    countryOf('8.8.8.1'),
    countryOf('8.8.8.2'),
    '??',
  ])
  expect(passing.trouble).toBeUndefined()
})

test('what was neither looked up nor let pass is not guessed', () => {
  expect(() => passing.locate('8.8.8.8')).toThrow('must be looked up before it is counted')
})

test.each<Mood>(['broken', 'too often', 'garbage', 'silent', 'refusing'])(
  'a service that is %s lets pass what it does not know, and says so',
  async mood => {
    await passing.resolve(['8.8.8.1'], never)
    service.mood = mood
    await passing.resolve(['8.8.8.2'], never)
    expect(['8.8.8.1', '8.8.8.2', '10.0.0.1'].map(passing.locate)).toEqual([
      countryOf('8.8.8.1'),
      UNLOCATED,
      '??',
    ])
    expect(passing.unknownOf(['8.8.8.1', '8.8.8.2', '8.8.8.3'].map(record))).toEqual(['8.8.8.3'])
    expect(passing.trouble).toMatchObject({
      state: 'counting as unknown',
      reason: expect.stringMatching(/./),
    })
  },
)

test('nobody waits for a service that fails already', async () => {
  service.mood = 'silent'
  await passing.resolve(['8.8.8.1'], never)
  const began = Date.now()
  for (let i = 0; i < 100; i++) await passing.resolve([`8.8.9.${i}`], never)
  // Each answer would be waited for 100 ms.
  expect(Date.now() - began).toBeLessThan(5_000)
})

test('those that wait for the same failure wait for it once', async () => {
  service.mood = 'broken'
  const all = Array.from({ length: 20 }, (_, i) => passing.resolve([`8.8.9.${i}`], never))
  const asked = await all[0]!.then(() => service.asked.length)
  await Promise.all(all)
  expect(service.asked).toHaveLength(asked)
})

test('once it answers again, what was let pass is asked for anew', async () => {
  service.mood = 'broken'
  await passing.resolve(['8.8.8.1', '8.8.8.2'], never)
  service.mood = 'well'
  let asked = 0
  await until(async () => {
    await passing.resolve([`8.8.9.${asked++}`], never)
    return passing.trouble === undefined
  })
  const records = ['8.8.8.1', '8.8.8.2'].map(record)
  expect(passing.unknownOf(records)).toEqual(['8.8.8.1', '8.8.8.2'])
  await passing.resolve(passing.unknownOf(records), never)
  expect(passing.locate('8.8.8.2')).toBe(countryOf('8.8.8.2'))
})

test('a replay that shares the service never takes a guess from it', async () => {
  service.mood = 'broken'
  await passing.resolve(['8.8.8.1'], never)
  expect(remote.unknownOf([record('8.8.8.1')])).toEqual(['8.8.8.1'])
  expect(() => remote.locate('8.8.8.1')).toThrow('must be looked up before it is counted')
  service.mood = 'well'
  await remote.resolve(['8.8.8.1'], never)
  expect(passing.locate('8.8.8.1')).toBe(countryOf('8.8.8.1'))
})

test('a wait that is called off is no failure of the service', async () => {
  service.mood = 'silent'
  const calledOff = new AbortController()
  const resolved = passing.resolve(['8.8.8.1'], calledOff.signal)
  calledOff.abort()
  await expect(resolved).rejects.toMatchObject({ name: 'AbortError' })
  expect(passing.trouble).toBeUndefined()
})

test('so many are let pass that memory is bounded, and the newest always are', async () => {
  service.mood = 'broken'
  for (let i = 0; i < 40; i++) {
    await passing.resolve([`8.8.9.${i}`], never)
    expect(passing.locate(`8.8.9.${i}`)).toBe(UNLOCATED)
  }
  expect(passing.unknownOf([record('8.8.9.0')])).toEqual(['8.8.9.0'])
})
