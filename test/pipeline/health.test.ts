import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'

let pipeline: TestPipeline

beforeEach(async () => {
  pipeline = new TestPipeline({ LOG_LEVEL: 'error' })
  await pipeline.begin(2)
}, 60_000)

afterEach(() => pipeline.destroy())

/** What `status` says is wrong, and how it ends. */
async function health(...options: string[]): Promise<{ problems: string[]; code: number }> {
  const { stdout, code } = await pipeline.attempt('status', '--json', ...options)
  return { problems: (JSON.parse(stdout) as { problems: string[] }).problems, code }
}

const HEALTHY = { problems: [], code: 0 }

test('status ends with 0 while all is well, and with 1 and the reason where it is not', async () => {
  pipeline.startWorker()
  await until(async () => (await health()).code === 0)
  expect(await health()).toEqual(HEALTHY)

  // One process runs one poller.
  await pipeline.command('scale', '2')
  const waiting =
    /^Poller [12] waits for a worker: start one with "web-traffic worker", with role pollers or all\.$/
  await until(async () => (await health()).problems.some(problem => waiting.test(problem)))
  expect(await health()).toEqual({ problems: [expect.stringMatching(waiting)], code: 1 })
  expect((await pipeline.attempt('status')).stdout).toMatch(/^UNHEALTHY\n {2}Poller [12] waits for a worker/)
  pipeline.startWorker()
  await until(async () => (await health()).code === 0)

  await pipeline.command('pause')
  expect(await health()).toEqual({ problems: ['The pipeline is paused: it reads nothing.'], code: 1 })
  await pipeline.send(Array.from({ length: 30 }, (_, i) => ({ value: 'no event', partition: i % 2 })))
  const lag = 'The lag is 30 records, above the limit of 29.'
  expect(await health('--max-lag', '29')).toEqual({
    problems: ['The pipeline is paused: it reads nothing.', lag],
    code: 1,
  })
  expect((await health('--max-lag', '30')).problems).toHaveLength(1)
  await pipeline.command('resume')
  await pipeline.untilAccounted(30)
  await until(async () => (await health()).code === 0)
}, 180_000)
