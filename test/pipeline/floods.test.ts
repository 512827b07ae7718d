import { afterEach, expect, test } from '@jest/globals'
import type { Message } from 'kafkajs'
import { TestPipeline } from '../support/pipeline'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

/** The start of a window that was over long ago, epoch ms. */
const W0 = Math.floor(Date.now() / 300_000) * 300_000 - 36 * 300_000

interface Flood {
  partitions: number
  /** Records of each partition; every one of them has a referrer of its own. */
  each: number
  referrerBytes: number
}

function* flood({ partitions, each, referrerBytes }: Flood): Generator<Message> {
  for (let i = 0; i < each; i++)
    for (let partition = 0; partition < partitions; partition++) {
      const referrer = `https://r.example/${partition}/${i}?`.padEnd(referrerBytes, 'x')
      const event = { event_time: W0 + (i % 300_000), host: 'www.example', referrer, ip: '192.0.2.1' }
      yield { partition, value: JSON.stringify(event) }
    }
}

/** What Postgres has, counted by itself. */
async function stored() {
  const [row] = await pipeline.query<Record<string, string>>(
    `select count(*) as groups, coalesce(sum(num_hits), 0) as hits, coalesce(max(num_hits), 0) as most,
      (select count(*) from staged_deltas) + (select count(*) from staged_pieces) as staged
     from aggregated_web_traffic`,
  )
  return Object.fromEntries(Object.entries(row!).map(([name, value]) => [name, Number(value)]))
}

async function healthy(): Promise<void> {
  const { code, stdout } = await pipeline.attempt('status', '--json')
  expect({ code, problems: (JSON.parse(stdout) as { problems: string[] }).problems }).toEqual({
    code: 0,
    problems: [],
  })
}

test('eight partitions flood one window with distinct referrers, and no hit is lost', async () => {
  pipeline = new TestPipeline({ MAX_GROUPS: '400000' })
  await pipeline.begin(8)
  const sent = await pipeline.send(flood({ partitions: 8, each: 40_000, referrerBytes: 90 }))
  pipeline.startWorker()
  await pipeline.untilAccounted(sent, 120_000)
  expect(await stored()).toEqual({ groups: sent, hits: sent, most: 1, staged: 0 })
  await healthy()
  expect(await pipeline.command('verify')).toContain('1 window is right, 0 are not')
}, 300_000)
