import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Finding } from '../../src/pipeline/doctor/finding'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

const WINDOW = 10_000
const DELAY = 1_000
const MINUTE = 60_000

const pipeline = new TestPipeline({
  WINDOW_SIZE: `${WINDOW}ms`,
  WATERMARK_DELAY: `${DELAY}ms`,
  LOG_LEVEL: 'error',
})

beforeAll(async () => {
  await pipeline.begin(2, 2)
  pipeline.startWorker('windows')
}, 60_000)

afterAll(() => pipeline.destroy())

/** A worker with a wrong clock. SIGUSR2 turns an advance into a delay. */
function startPoller(ahead: number) {
  const NODE_OPTIONS = `--require ${join(__dirname, '..', 'support', 'wrong-clock.js')}`
  return pipeline.startWorker('pollers', { NODE_OPTIONS, CLOCK_AHEAD: String(ahead) })
}

const startPollers = () => [startPoller(5 * MINUTE), startPoller(-60 * MINUTE)] as const

/** So many events for each partition. */
function send(each: number, eventTime: number): Promise<number> {
  const value = JSON.stringify({ event_time: eventTime, host: 'a.example', referrer: '', ip: '193.0.6.139' })
  return pipeline.send(Array.from({ length: 2 * each }, (_, i) => ({ partition: i % 2, value })))
}

/** Hits of all windows by their start. */
async function hits(): Promise<Record<number, number>> {
  const rows = await pipeline.db.selectFrom('traffic_windows').select(['window_start', 'num_hits']).execute()
  return Object.fromEntries(rows.map(row => [row.window_start.getTime(), row.num_hits]))
}

/** What `status` says about clocks; nothing while no worker answers it. */
async function clockProblems(): Promise<string[]> {
  const { stdout } = await pipeline.attempt('status', '--json')
  const { problems } = JSON.parse(stdout || '{"problems":[]}') as { problems: string[] }
  return problems.filter(problem => problem.startsWith('The clock'))
}

/** What `doctor` warns about clocks. */
async function clockWarnings(): Promise<string[]> {
  const findings = JSON.parse((await pipeline.attempt('doctor', '--json')).stdout) as Finding[]
  const warnings = findings.filter(({ state }) => state === 'warning').map(({ says }) => says)
  return warnings.filter(warning => warning.startsWith('The clock'))
}

const WRONG = [
  expect.stringMatching(/^The clock of worker \d+@.+ is 5m ahead of Temporal's: synchronise both .*NTP/),
  expect.stringMatching(/^The clock of worker \d+@.+ is 1h behind Temporal's: synchronise both .*NTP/),
]

test('pollers with wrong clocks count every event in its window, and status and doctor name the clocks', async () => {
  let pollers = startPollers()
  let problems: string[] = []
  await until(async () => (problems = await clockProblems()).length >= 2)
  expect(problems).toEqual(expect.arrayContaining(WRONG))
  await until(async () => (problems = await clockWarnings()).length >= 2)
  expect(problems).toEqual(expect.arrayContaining(WRONG))

  const start = Math.ceil(Date.now() / WINDOW) * WINDOW
  await sleep(start - Date.now())
  await send(1, start)
  await pipeline.untilDone(2)
  // By the first clock the window is over, and its partition is silent.
  await sleep(2_000)
  await Promise.all(pollers.map(poller => pipeline.stopWorker(poller)))
  await send(250, start)
  await sleep(start + WINDOW + DELAY + 1_000 - Date.now())
  pollers = startPollers()
  await pipeline.untilAccounted(502)
  expect(await pipeline.sums()).toMatchObject({ hits: 502, late: 0 })
  expect(await hits()).toEqual({ [start]: 502 })

  pollers[0].kill('SIGUSR2')
  const setBack = Date.now()
  const later = Math.floor(Date.now() / WINDOW) * WINDOW
  await send(5, later)
  await pipeline.untilAccounted(512)
  expect(await hits()).toEqual({ [start]: 502, [later]: 10 })
  await pipeline.command('verify')
  // The group removes a member that sends no heartbeat for seven seconds.
  await sleep(setBack + 10_000 - Date.now())
  const { groups } = await pipeline.withAdmin(admin => admin.describeGroups([pipeline.config.settings.group]))
  expect(groups[0]?.members).toHaveLength(2)
}, 180_000)
