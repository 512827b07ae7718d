import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from '@jest/globals'
import { TestPipeline } from '../support/pipeline'

/** 10,000 lines of a real server's log; its facts, counted independently, are known. */
const LOG = join(__dirname, '..', '..', '..', 'shared', 'data', 'apache_logs')
const withLog = existsSync(LOG) ? test : test.skip
const because = existsSync(LOG) ? '' : ' (skipped: the log is not there)'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

async function load(partitions: number): Promise<void> {
  await pipeline.migrate()
  await pipeline.command(
    'produce',
    '--access-log',
    LOG,
    '--host',
    'www.example.com',
    '--partitions',
    String(partitions),
  )
  await pipeline.start()
  pipeline.startWorker()
  await pipeline.untilAccounted(10_000)
}

withLog(
  `a real log over four partitions gives exactly its known figures${because}`,
  async () => {
    pipeline = new TestPipeline()
    await load(4)
    expect(await pipeline.sums()).toMatchObject({ hits: 9_999, late: 0, rejected: 1, windows: 84 })
    const groups = await pipeline.query<{ groups: string; empty: string }>(
      `select count(*) as groups, sum(num_hits) filter (where referrer = '') as empty from aggregated_web_traffic`,
    )
    expect(groups).toEqual([{ groups: '1738', empty: '4072' }])
    const largest = await pipeline.query<{ at: string; num_hits: string }>(
      `select to_char(window_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI') as at, num_hits
       from traffic_windows order by num_hits desc, at desc limit 3`,
    )
    expect(largest).toEqual([
      { at: '2015-05-19T19:05', num_hits: '136' },
      { at: '2015-05-19T14:05', num_hits: '134' },
      { at: '2015-05-18T15:05', num_hits: '133' },
    ])
    const ends = await pipeline.query<{ at: string; num_hits: string }>(
      `select to_char(window_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI') as at, num_hits from traffic_windows
       where window_start in (select min(window_start) from traffic_windows union select max(window_start) from traffic_windows)
       order by at`,
    )
    expect(ends).toEqual([
      { at: '2015-05-17T10:05', num_hits: '74' },
      { at: '2015-05-20T21:05', num_hits: '86' },
    ])
    const rejected = await pipeline.query(`select partition, kafka_offset, reason from rejected_events`)
    // Line 8899, sent in turn over four partitions.
    expect(rejected).toEqual([
      { partition: 8898 % 4, kafka_offset: String(Math.floor(8898 / 4)), reason: 'invalid_json' },
    ])
  },
  120_000,
)

/** Hits and late by the rule of lateness, in file order on one partition. */
function countByRule(size: number, delay: number): { hits: number; late: number } {
  const counts = { hits: 0, late: 0 }
  let newest = -Infinity
  for (const [i, line] of readFileSync(LOG, 'utf8').trimEnd().split('\n').entries()) {
    if (i === 8898) continue
    const [, day, clock] = /\[(\d+)\/May\/2015:(\d+:\d+:\d+) \+0000\]/.exec(line)!
    const time = Date.parse(`2015-05-${day}T${clock}Z`)
    counts[time - (time % size) + size <= newest - delay ? 'late' : 'hits']++
    newest = Math.max(newest, time)
  }
  return counts
}

withLog(
  `a watermark delay shorter than the log's disorder makes late exactly what the rule says${because}`,
  async () => {
    // All traffic of this log lies in one minute of each hour: only a window shorter than that can end within it.
    pipeline = new TestPipeline({ WINDOW_SIZE: '30s', WATERMARK_DELAY: '10s' })
    await load(1)
    const expected = countByRule(30_000, 10_000)
    expect(expected.late).toBeGreaterThan(0)
    const { hits, late } = await pipeline.sums()
    expect({ hits, late }).toEqual(expected)
    const causes = await pipeline.query(`select distinct cause from late_web_traffic`)
    expect(causes).toEqual([{ cause: 'watermark' }])
    expect(await pipeline.status()).toMatchObject({ totals: { records: 10_000, ...expected, rejected: 1 } })
  },
  120_000,
)
