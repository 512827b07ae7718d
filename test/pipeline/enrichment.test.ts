import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { WorkflowNotFoundError } from '@temporalio/common'
import { pollerId } from '../../src/core/names'
import { publicAddress } from '../../src/geo/country'
import { byGroup, countLog, differences } from '../../src/oracle/reference'
import { withTemporal } from '../../src/temporal'
import { countryOf, LookUpService, type Mood } from '../support/look-up-service'
import { TestPipeline } from '../support/pipeline'

const MINUTE = 60_000
const KEY = 'SECRET0123456789'
const ADDRESSES = 60

let service: LookUpService
let pipeline: TestPipeline

beforeAll(async () => {
  service = new LookUpService(KEY)
  const GEO_URL = await service.start()
  pipeline = new TestPipeline({ GEO_PROVIDER: 'ip2location', IP_CODING_KEY: KEY, GEO_URL })
})

afterAll(async () => {
  await pipeline.destroy()
  await service.stop()
})

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

test('a look-up service fails in every way, is seen to, and recovers: counts are exact', async () => {
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
  await pipeline.createTopic(2)
  await pipeline.command('migrate')
  await pipeline.send(messages)
  await pipeline.command('start')
  service.mood = 'too often'
  pipeline.startWorker()

  const seen: string[] = []
  const fails: [Mood, string][] = [
    ['too often', '(429)'],
    ['broken', '(500)'],
    ['garbage', 'no answer (200)'],
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
    /^UNHEALTHY\n {2}Poller 1 (fails, at attempt|waits for its countries).*set IP_CODING_KEY/,
  )
  expect(code).toBe(1)

  service.mood = 'well'
  await pipeline.untilAccounted(messages.length, 90_000)
  const locate = (ip: string) => (publicAddress(ip) === undefined ? '??' : countryOf(ip))
  const { windowSize, watermarkDelay } = pipeline.config.settings
  const reference = countLog(await pipeline.readLog(), locate, windowSize, watermarkDelay)
  const rows = await pipeline.db.selectFrom('aggregated_web_traffic_by_country').selectAll().execute()
  expect(differences(byGroup(rows), reference.hits)).toEqual([])
  // Each address was answered once: what was asked for again had failed before.
  expect(new Set(service.asked).size).toBeLessThanOrEqual(ADDRESSES)

  const all = seen.join()
  expect(all).toContain('"state":"retrying"')
  expect(all).not.toContain(KEY)
  expect(all).not.toContain('8.8.8.')
}, 240_000)
