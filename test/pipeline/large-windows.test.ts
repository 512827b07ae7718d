import { afterEach, expect, test } from '@jest/globals'
import { until } from '../support/until'
import { TestPipeline } from '../support/pipeline'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

/** The start of a window that was over long ago, epoch ms. */
const W0 = Math.floor(Date.now() / 300_000) * 300_000 - 36 * 300_000

const eventOf = (referrer: string, host = 'www.example', offset = 0) =>
  JSON.stringify({ event_time: W0 + (offset % 300_000), host, referrer, ip: '192.0.2.1' })

async function started(settings: Record<string, string> = {}): Promise<void> {
  pipeline = new TestPipeline(settings)
  await pipeline.begin(2)
  pipeline.startWorker()
}

/** In turn to both partitions; resolves with how many. */
function send(values: Iterable<string>): Promise<number> {
  function* messages() {
    let partition = 0
    for (const value of values) yield { value, partition: partition++ % 2 }
  }
  return pipeline.send(messages())
}

/** Every third group is met a second time. */
function* groups(count: number): Generator<string> {
  for (let i = 0; i < count; i++) {
    const referrer = `https://referrer-${i}.example/a/path/of/some/length?q=${i * 7919}`
    yield eventOf(referrer, 'www.example', i)
    if (i % 3 === 0) yield eventOf(referrer, 'www.example', i)
  }
}

const asked = async () =>
  (
    await pipeline.query<{ groups: string; hits: string; twice: string; other: string; pieces: string }>(
      `select count(*) as groups, sum(num_hits) as hits, count(*) filter (where num_hits = 2) as twice,
        coalesce(sum(num_hits) filter (where referrer = '(other)'), 0) as other,
        (select count(*) from staged_pieces) as pieces
       from aggregated_web_traffic`,
    )
  )[0]!

test('a window of 200,000 distinct groups is written, every group with its count', async () => {
  await started()
  const sent = await send(groups(200_000))
  expect(sent).toBe(266_667)
  await pipeline.untilAccounted(sent, 180_000)
  expect(await asked()).toEqual({
    groups: '200000',
    hits: String(sent),
    twice: '66667',
    other: '0',
    pieces: '0',
  })
  const [window] = await pipeline.query<{ groups: string; num_hits: string; revision: number }>(
    'select groups, num_hits, revision from traffic_windows',
  )
  expect(window).toEqual({ groups: '200000', num_hits: String(sent), revision: 1 })
}, 300_000)

test('in a flood of random referrers the totals stay exact, and the groups bounded', async () => {
  await started({ MAX_GROUPS: '5000' })
  function* flood() {
    for (let i = 0; i < 300; i++) yield eventOf(`https://known-${i % 30}.example/`, 'www.example', i)
    for (let i = 0; i < 100_000; i++)
      yield eventOf(`https://${(i * 2_654_435_761) % 4_294_967_296}.example/`, `h${i % 4}`)
  }
  const sent = await send(flood())
  await pipeline.untilAccounted(sent, 120_000)
  const { groups, hits, other } = await asked()
  expect(Number(hits)).toBe(sent)
  // The hosts of the flood keep their names, each with its further referrers in one group.
  expect(Number(groups)).toBeGreaterThan(5_000)
  expect(Number(groups)).toBeLessThanOrEqual(5_000 + 5)
  expect(Number(other)).toBeGreaterThan(sent - 5_000 - 300)
  // Which groups are named is first come, first named; a host keeps its name, and its count, in any case.
  const [regular] = await pipeline.query(
    `select sum(num_hits) as hits from aggregated_web_traffic where host = 'www.example'`,
  )
  expect(regular).toEqual({ hits: '300' })
}, 300_000)

test('with an allowed lateness a window is published, and published again when late events come', async () => {
  // Watermarks alone decide: silence claims nothing here.
  await started({ ALLOWED_LATENESS: '1h', IDLE_TIMEOUT: '1h' })
  const at = (time: number) =>
    JSON.stringify({ event_time: time, host: 'a.example', referrer: '', ip: '192.0.2.1' })
  const result = () =>
    pipeline.query(
      'select status, revision, num_hits::int as hits from traffic_windows order by window_start limit 1',
    )
  const END = W0 + 300_000
  await send([at(W0), at(W0 + 1), at(END + 61_000), at(END + 61_000)])
  await until(async () => (await result()).length === 1)
  expect(await result()).toEqual([{ status: 'published', revision: 1, hits: 2 }])
  // Late without the allowance: its window's end is behind both watermarks.
  await send([at(W0 + 2), at(W0 + 3), at(W0 + 4)])
  await until(async () => ((await result())[0] as { hits: number }).hits === 5)
  expect(await result()).toEqual([{ status: 'published', revision: 2, hits: 5 }])
  // Beyond the allowance: the window closes, and what comes then is late.
  await send([at(END + 3_661_000), at(END + 3_661_000)])
  await until(async () => ((await result())[0] as { status: string }).status === 'closed')
  await send([at(W0 + 5), at(W0 + 6)])
  const late = () => pipeline.query('select cause, num_hits::int as hits from late_web_traffic')
  await until(async () => (await late()).length > 0)
  await until(async () => (await pipeline.sums()).late === 2)
  expect(await late()).toEqual([{ cause: 'watermark', hits: 2 }])
  expect(await result()).toEqual([{ status: 'closed', revision: 2, hits: 5 }])
}, 300_000)
