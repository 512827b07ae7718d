import { afterEach, expect, test } from '@jest/globals'
import { openCountryDatabase } from '../../src/geo/country'
import { countLog } from '../../trials/oracle/reference'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'
import { until } from '../support/until'
import type { RecoverSummary, VerifySummary } from '../../src/contract/workflows'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

const MINUTE = 60_000
const WINDOW = 5 * MINUTE
/** Start of a window that is over, as are those after it. */
const W0 = Math.floor((Date.now() - 240 * MINUTE) / WINDOW) * WINDOW

function event(at: number, referrer = '', partition = 0) {
  const event_time = new Date(at).toISOString()
  return { partition, value: JSON.stringify({ event_time, host: 'a.example', referrer, ip: '193.0.6.139' }) }
}

/** Four windows from a time on, with late events and records that are none. */
function* traffic(from: number) {
  for (let i = 0; i < 1_200; i++) {
    const at = from + i * 1_000
    yield event(at, `https://r-${i % 7}.example/`)
    if (i > 900 && i % 50 === 0) yield event(at - 2 * WINDOW, 'https://late.example/')
    if (i % 100 === 0) yield { partition: 0, value: 'no JSON' }
  }
}

/** A part of a window that is larger than a message. */
function* large(at: number, part: number) {
  for (let i = 500 * part; i < 500 * (part + 1); i++)
    yield event(at + (i % 60) * 1_000, `https://${i}.example/${'x'.repeat(1_500)}`)
}

/** Late events that are larger than a message. */
function* lateOnes(at: number) {
  for (let i = 0; i < 200; i++) yield event(at + i * 1_000, `https://${i}.example/${'y'.repeat(1_500)}`)
}

/** All that readers see, whatever the time at which it was written. */
async function contents() {
  const all: Record<string, object[]> = {}
  for (const [relation, columns] of Object.entries({
    aggregated_web_traffic: '*',
    aggregated_web_traffic_by_country: '*',
    late_web_traffic: '*',
    rejected_counts: '*',
    rejected_events: 'topic, partition, kafka_offset, reason',
    traffic_windows: 'window_start, status, num_hits, late_hits, groups, revision, partitions',
    // A window that was counted again has one stretch in place of its ranges.
    exception_ranges: 'window_start, kafka_partition, sum(records)',
    window_books: '*',
  }))
    all[relation] = await pipeline.query<object>(
      relation === 'exception_ranges'
        ? `select ${columns} from ${relation} group by 1, 2 having sum(records) > 0 order by 1, 2`
        : `select ${columns} from ${relation} t order by t::text collate "C"`,
    )
  return all
}

const instant = (at: number) => new Date(at).toISOString()
const verify = async () => {
  const { stdout, code } = await pipeline.attempt('verify', '--json')
  return { code, found: JSON.parse(stdout) as VerifySummary }
}
const recover = async (since: number) =>
  JSON.parse(await pipeline.command('recover', '--since', instant(since), '--json')) as RecoverSummary

test('Postgres that was restored from a backup is made what it was, and goes on', async () => {
  pipeline = new TestPipeline()
  await pipeline.begin(2)
  const first = pipeline.startWorker()
  let sent = await pipeline.send([...traffic(W0), event(W0 + 1, '', 1)])
  await pipeline.untilAccounted(sent)

  await pipeline.stopWorker(first)
  const backedUpAt = Date.now()
  await pipeline.copyDatabase('backup')
  const second = pipeline.startWorker()
  const after = W0 + 4 * WINDOW
  sent += await pipeline.send(traffic(after))
  // So many that the poller records them itself: they are in no history.
  sent += await pipeline.send(lateOnes(after))
  await pipeline.untilDone(sent)
  // So large that the poller stages them: their counts are in no history.
  for (let part = 0; part < 4; part++) sent += await pipeline.send(large(after + 5 * WINDOW, part))
  await pipeline.untilAccounted(sent)
  await expectCounts(
    pipeline.db,
    countLog(await pipeline.readLog(), await openCountryDatabase(), WINDOW, MINUTE),
  )
  // Wakes a partition that was idle: late since its window has closed.
  sent += await pipeline.send([event(after, 'https://woken.example/', 1)])
  await pipeline.untilAccounted(sent)
  sent += await pipeline.send([event(after + 1, 'https://woken.example/', 1)])
  await pipeline.untilAccounted(sent)
  await until(async () => {
    const { open, closing } = (await pipeline.status()).windows
    return open + closing === 0
  })
  const before = await contents()
  expect(before.late_web_traffic).toContainEqual(expect.objectContaining({ cause: 'closed', num_hits: '2' }))
  const windows = before.traffic_windows!.length

  await pipeline.stopWorker(second)
  await pipeline.restoreDatabase('backup')
  pipeline.startWorker()
  expect((await pipeline.sums()).records).toBeLessThan(sent)
  const lost = await verify()
  expect(lost).toMatchObject({ code: 1, found: { right: 4, wrong: 0 } })
  expect(lost.found.missing).toHaveLength(windows - 4)
  expect(lost.found.summary).toContain('web-traffic recover --since')

  const recovered = await recover(backedUpAt)
  expect(recovered).toMatchObject({ windows: windows - 5, lateHits: 2, contradictory: [], incomplete: [] })
  expect(recovered.repaired).toContain(instant(after + 5 * WINDOW).replace('.000', ''))
  expect(recovered.repaired).toHaveLength(2)
  expect(await contents()).toEqual(before)
  // Whatever is there already stays as it is, also where more than was lost is written again.
  expect(await recover(0)).toMatchObject({ windows: 0, there: windows, ranges: 0, lateHits: 0 })
  expect(await contents()).toEqual(before)
  expect(await verify()).toMatchObject({ code: 0, found: { right: windows, missing: [] } })

  sent += await pipeline.send([...traffic(after + 10 * WINDOW)])
  await pipeline.untilAccounted(sent)

  // A row that a run after the loss wrote, without what was counted before, is named and left to a person.
  await pipeline.query(`update window_results set partitions = '[]' where window_start = '${instant(after)}'`)
  const { stdout, code } = await pipeline.attempt('recover', '--since', instant(0), '--json')
  expect(code).toBe(1)
  expect((JSON.parse(stdout) as RecoverSummary).contradictory).toEqual([instant(after).replace('.000', '')])
}, 300_000)
