import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { windowId } from '../../src/contract/ids'
import { openCountryDatabase } from '../../src/geo/country'
import { withTemporal } from '../../src/temporal/connection'
import { windowProgress } from '../../src/contract/messages'
import { expectCounts } from '../support/counts'
import { until } from '../support/until'
import { TestPipeline } from '../support/pipeline'
import { Relay } from '../../trials/relay'
import { countLog, totalOf } from '../../trials/oracle/reference'

/** How long Postgres is away. */
const OUTAGE = Number(process.env.OUTAGE_SECONDS ?? 10) * 1_000
const WINDOW = 2_000
const DELAY = 2_000
/** Events a second. */
const RATE = 200

const relay = new Relay()
let pipeline: TestPipeline

beforeEach(async () => {
  await relay.open()
  pipeline = new TestPipeline({
    POSTGRES_URL: relay.url,
    WINDOW_SIZE: `${WINDOW}ms`,
    WATERMARK_DELAY: `${DELAY}ms`,
    // Longer than the producer's hiccups on a busy machine: no partition falls silent before the end.
    IDLE_TIMEOUT: '10s',
    // Every try that fails is a warning.
    LOG_LEVEL: 'error',
  })
  await pipeline.begin(4)
})

afterEach(async () => {
  await relay.open()
  await pipeline.destroy()
  await relay.close()
})

test(
  'while Postgres is away reading goes on, the write is seen retrying, and every window is right afterwards',
  async () => {
    pipeline.startWorker()
    const traffic = sendLive(OUTAGE + 15_000)
    while ((await pipeline.sums()).windows === 0) await sleep(200)

    const window = await untilWindowIsOpen()
    await relay.close()
    const away = Date.now()
    const before = await pipeline.untilDone(1)
    const failure = await pipeline.untilRetried(window, ['recordExceptions', 'writeWindow'], OUTAGE)
    expect(failure).toContain(`Postgres at ${new URL(relay.url).host} is unreachable`)
    await until(async () => / (closing|stuck) /.test((await pipeline.attempt('windows')).stdout), OUTAGE)
    const { stdout, stderr, code } = await pipeline.attempt('windows')
    expect(stdout).toMatch(/ (closing|stuck) /)
    expect({ stderr, code }).toEqual({
      stderr: expect.stringMatching(/Postgres at .* is unreachable/),
      code: 1,
    })
    await sleep(away + OUTAGE - Date.now())
    const after = await pipeline.untilDone(1)
    expect(after.records - before.records).toBeGreaterThan((RATE * OUTAGE) / 2_000)
    expect(after.late).toBeGreaterThan(before.late)
    expect(after.rejected).toBeGreaterThan(before.rejected)
    await relay.open()

    const { sent } = JSON.parse(await traffic) as { sent: number }
    await pipeline.untilAccounted(sent)
    const reference = countLog(await pipeline.readLog(), await openCountryDatabase(), WINDOW, DELAY)
    expect(totalOf(reference.late)).toBeGreaterThan(0)
    expect(reference.rejected).toBeGreaterThan(0)
    await expectCounts(pipeline.db, reference)
  },
  OUTAGE + 120_000,
)

function sendLive(milliseconds: number): Promise<string> {
  const mix = ['--late', '0.02', '--malformed', '0.02', '--disorder', '1s']
  const time = ['--rate', String(RATE), '--for', `${milliseconds}ms`]
  return pipeline.command('produce', '--synthetic', ...time, ...mix, '--json', '--quiet')
}

/** Waits until the newest window has heard from Postgres, so that its write is the next to ask; its workflow's id. */
async function untilWindowIsOpen(): Promise<string> {
  return withTemporal(async client => {
    for (;;) {
      const { openWindows } = await pipeline.untilDone(1)
      const id = windowId(pipeline.config.settings.group, openWindows.at(-1)!)
      const progress = await client.workflow
        .getHandle(id)
        .query(windowProgress)
        .catch(() => undefined)
      if (progress?.state === 'open') return id
      await sleep(100)
    }
  })
}
