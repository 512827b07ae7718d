import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { WorkflowNotFoundError } from '@temporalio/common'
import { pollerId, replayId } from '../../src/contract/ids'
import { publicAddress } from '../../src/geo/country'
import { byGroup, countLog, differences } from '../../trials/oracle/reference'
import { withTemporal } from '../../src/temporal/connection'
import { countryOf, LookUpService, type Mood } from '../support/lookup-service'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import type { ReplaySummary, VerifySummary } from '../../src/contract/workflows'
import type { WindowLine } from '../../src/pipeline/window-list'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const KEY = 'SECRET0123456789'
const ADDRESSES = 60

let service: LookUpService
let pipeline: TestPipeline

let GEO_URL: string

beforeEach(async () => {
  service = new LookUpService(KEY)
  GEO_URL = await service.start()
})

afterEach(async () => {
  await pipeline.destroy()
  await service.stop()
})

function newPipeline(settings: Record<string, string> = {}): TestPipeline {
  return new TestPipeline({
    GEO_PROVIDER: 'ip2location',
    IP_CODING_KEY: KEY,
    GEO_URL,
    GEO_RATE: '1000',
    ...settings,
  })
}

/** Everything that Temporal shows of the poller's activity: heartbeat details, and how the last attempt failed. */
async function shown(): Promise<string> {
  return withTemporal(async client => {
    const poller = client.workflow.getHandle(pollerId(pipeline.config.settings.group, 1))
    const described = await poller.describe().catch((error: unknown) => {
      // The ledger starts it, which its worker has yet to begin with.
      if (error instanceof WorkflowNotFoundError) return undefined
      throw error
    })
    return (described?.raw.pendingActivities ?? [])
      .map(({ heartbeatDetails, lastFailure }) => {
        const details = heartbeatDetails?.payloads?.map(({ data }) => Buffer.from(data ?? []).toString())
        return `${details?.join() ?? ''} ${JSON.stringify(lastFailure ?? {})}`
      })
      .join()
  })
}

async function untilShown(text: string, seen: string[], within = 60_000): Promise<void> {
  for (const deadline = Date.now() + within; ; await sleep(200)) {
    const now = await shown()
    seen.push(now)
    if (now.includes(text)) return
    if (Date.now() > deadline) throw new Error(`Temporal does not show "${text}" but ${now}`)
  }
}

/** What an independent count makes of the topic, with the service's own answers. */
async function reference(locate = answerOf) {
  const { windowSize, watermarkDelay } = pipeline.config.settings
  return countLog(await pipeline.readLog(), locate, windowSize, watermarkDelay)
}

const answerOf = (ip: string) => (publicAddress(ip) === undefined ? '??' : countryOf(ip))

async function stored() {
  return byGroup(await pipeline.db.selectFrom('aggregated_web_traffic_by_country').selectAll().execute())
}

test('a lookup service fails in every way, is seen to, and recovers: counts are exact', async () => {
  const now = Math.floor(Date.now() / MINUTE) * MINUTE - 60 * MINUTE
  const messages = Array.from({ length: 1_200 }, (_, i) => ({
    partition: i % 2,
    value: JSON.stringify({
      event_time: new Date(now + i * 1_000).toISOString(),
      host: `${i % 5}.example`,
      referrer: '',
      ip: i % 50 === 0 ? '10.0.0.1' : `8.8.8.${i % ADDRESSES}`,
    }),
  }))
  pipeline = newPipeline()
  await pipeline.begin(2)
  await pipeline.send(messages)
  service.mood = 'too often'
  pipeline.startWorker()

  const seen: string[] = []
  const fails: [Mood, string][] = [
    ['too often', '(429)'],
    ['broken', '(500)'],
    ['garbage', 'invalid answer (200)'],
    ['silent', 'does not answer within'],
    ['refusing', 'set IP_CODING_KEY'],
  ]
  for (const [mood, reason] of fails) {
    service.mood = mood
    await untilShown(reason, seen)
  }
  expect((await pipeline.sums()).records).toBe(0)
  const { stdout, code } = await pipeline.attempt('status')
  expect(stdout).toMatch(
    /^UNHEALTHY\n {2}Poller 1 (fails \(attempt|waits for country lookups).*set IP_CODING_KEY/,
  )
  expect(code).toBe(1)

  service.mood = 'well'
  await pipeline.untilAccounted(messages.length, 90_000)
  expect(differences(await stored(), (await reference()).hits)).toEqual([])
  // Each address was answered once: what was asked for again had failed before.
  expect(new Set(service.asked).size).toBeLessThanOrEqual(ADDRESSES)

  const all = seen.join()
  expect(all).toContain('"state":"retrying"')
  expect(all).not.toContain(KEY)
  expect(all).not.toContain('8.8.8.')
}, 240_000)

/** Events of `hits` seconds from a time on, each from one of the addresses `prefix.0` to `prefix.9`. */
function eventsFrom(start: number, hits: number, prefix: string) {
  return Array.from({ length: hits }, (_, i) => ({
    partition: 0,
    value: JSON.stringify({
      event_time: new Date(start + i * 1_000).toISOString(),
      host: `${i % 5}.example`,
      referrer: '',
      ip: i % 50 === 0 ? '10.0.0.1' : `${prefix}.${i % 10}`,
    }),
  }))
}

test('with GEO_ON_ERROR=unknown traffic passes an outage, and a replay locates exactly what it touched', async () => {
  pipeline = newPipeline({ GEO_ON_ERROR: 'unknown' })
  await pipeline.begin(1)
  pipeline.startWorker()
  const start = Math.floor(Date.now() / HOUR) * HOUR - 3 * HOUR
  const hits = 900
  const next = (n: number) => start + n * hits * 1_000

  await pipeline.send(eventsFrom(next(0), hits, '8.8.8'))
  await pipeline.untilAccounted(hits)
  service.mood = 'broken'
  await pipeline.send([...eventsFrom(next(1), hits, '8.8.8'), ...eventsFrom(next(2), hits, '9.9.9')])
  // Nobody mends it: all of it gets through nevertheless.
  await pipeline.untilAccounted(3 * hits)
  // The poller's last heartbeat may still tell of the retries before.
  await until(async () => {
    const { stdout, code } = await pipeline.attempt('status')
    return (
      code === 1 && /^UNHEALTHY\n {2}Poller 1 counts events without their country: .*\(500\)/.test(stdout)
    )
  }, 10_000)

  // Whatever was known before the outage is located in it, and what needs no lookup is not taken for what failed.
  const outage = (ip: string) => (ip.startsWith('9.9.9.') ? '??' : answerOf(ip))
  const touched = hits - hits / 50
  expect(differences(await stored(), (await reference(outage)).hits)).toEqual([])
  const unlocated = async () =>
    (await pipeline.db.selectFrom('traffic_windows').select(['num_hits', 'unlocated']).execute()).filter(
      window => window.unlocated > 0,
    )
  const sum = (values: number[]) => values.reduce((all, value) => all + value, 0)
  expect(sum((await unlocated()).map(window => window.unlocated))).toBe(touched)
  expect(await unlocated()).toHaveLength(3)
  const listed = JSON.parse(await pipeline.command('windows', '--limit', '100', '--json')) as WindowLine[]
  expect(sum(listed.map(window => window.unlocated))).toBe(touched)

  // A replay needs the answers: while there are none it waits, and says for what.
  const { group } = pipeline.config.settings
  await pipeline.command('replay', '--unlocated', '--detach')
  const id = replayId(group, '.. unlocated')
  expect(await pipeline.untilRetried(id, 'replayWindows')).toContain('(500)')
  expect(sum((await unlocated()).map(window => window.unlocated))).toBe(touched)
  service.mood = 'well'
  const replayed = await withTemporal(
    client => client.workflow.getHandle(id).result() as Promise<ReplaySummary>,
  )
  expect(replayed).toMatchObject({ replayed: 3, unchanged: 0, gone: 0 })
  expect(await unlocated()).toEqual([])
  expect(differences(await stored(), (await reference()).hits)).toEqual([])

  // Traffic is located again by itself, and nothing is left to be replayed.
  await pipeline.send(eventsFrom(next(3), hits, '9.9.8'))
  await pipeline.untilAccounted(4 * hits)
  await until(async () => (await pipeline.attempt('status')).code === 0)
  await pipeline.send(eventsFrom(next(4), hits, '7.7.7'))
  await pipeline.untilAccounted(5 * hits)
  const again = await pipeline.attempt('replay', '--unlocated', '--json')
  expect(again.code).toBe(0)
  expect(differences(await stored(), (await reference()).hits)).toEqual([])
  expect(await pipeline.attempt('replay', '--unlocated', '--json')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('"replayed": 0'),
  })
  const verified = JSON.parse(await pipeline.command('verify', '--json')) as VerifySummary
  expect(verified).toMatchObject({ right: 15, wrong: 0, gone: 0 })
}, 240_000)
