import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from '@jest/globals'
import { verifyId } from '../../src/contract/ids'
import { withTemporal } from '../../src/temporal/connection'
import { byGroup, countLog, differences, fold, type CountedRow } from '../../trials/oracle/reference'
import { openCountryDatabase } from '../../src/geo/country'
import { expectCounts } from '../support/counts'
import { TestPipeline } from '../support/pipeline'
import type { ReplaySummary, VerifySummary } from '../../src/contract/workflows'

let pipeline: TestPipeline
afterEach(async () => pipeline.destroy())

const MINUTE = 60_000
const WINDOW = 5 * MINUTE
const DAY = 86_400_000
/** Start of a window that is over, as are those after it. */
const W0 = Math.floor((Date.now() - 120 * MINUTE) / WINDOW) * WINDOW
const name = (start: number) => new Date(start).toISOString()

function event(partition: number, at: number, referrer = '', ip = '193.0.6.139') {
  const event_time = new Date(at).toISOString()
  return { partition, value: JSON.stringify({ event_time, host: 'a.example', referrer, ip }) }
}

/** Two partitions of six windows, a few hundred events each, with some that are late by the watermark. */
function* traffic() {
  for (let i = 0; i < 1_800; i++) {
    const at = W0 + i * 1_000
    yield event(i % 2, at, `https://r-${i % 7}.example/`, i % 3 === 0 ? '8.8.8.8' : '193.0.6.139')
    if (i > 900 && i % 100 === 0) yield event(i % 2, at - 2 * WINDOW, 'https://late.example/')
  }
}

async function start(): Promise<void> {
  pipeline = new TestPipeline()
  await pipeline.begin(2)
  pipeline.startWorker()
}

/** Sends the traffic in two parts, each in ranges of its own, until all of it is in Postgres. */
async function counted(): Promise<number> {
  await start()
  const events = [...traffic()]
  await pipeline.send(events.slice(0, events.length / 2))
  await pipeline.untilDone(Math.floor(events.length / 2))
  await pipeline.send(events.slice(events.length / 2))
  await pipeline.untilAccounted(events.length)
  return events.length
}

/** The command's JSON and its exit code. */
async function run<T>(...args: string[]): Promise<{ found: T; code: number }> {
  const { stdout, code } = await pipeline.attempt(...args, '--json')
  return { found: JSON.parse(stdout) as T, code }
}

const verify = (...args: string[]) => run<VerifySummary>('verify', ...args)
const replay = (...args: string[]) => run<ReplaySummary>('replay', ...args)
const reference = async () => countLog(await pipeline.readLog(), await openCountryDatabase(), WINDOW, MINUTE)
const revisions = async () =>
  (await pipeline.db.selectFrom('window_results').select('revision').orderBy('window_start').execute()).map(
    ({ revision }) => revision,
  )

test('rows that were changed, deleted or added by hand are found by verify, and put right by replay, once', async () => {
  await counted()
  const windows = (await revisions()).length
  expect(await verify()).toMatchObject({ code: 0, found: { right: windows, wrong: 0, windows: [] } })

  const start = new Date(W0 + WINDOW)
  const by_country = () =>
    pipeline.db.deleteFrom('aggregated_web_traffic_by_country').where('window_start', '=', start)
  await by_country().where('referrer', '=', 'https://r-1.example/').where('country', '=', 'US').execute()
  await pipeline.db
    .updateTable('aggregated_web_traffic')
    .set({ num_hits: 1_000 })
    .where('window_start', '=', start)
    .where('referrer', '=', 'https://r-2.example/')
    .execute()
  const window_end = new Date(start.getTime() + WINDOW)
  const extra = { window_start: start, window_end, host: 'x.example', referrer: '', num_hits: 5 }
  await pipeline.db.insertInto('aggregated_web_traffic').values(extra).execute()

  const { found, code } = await verify('--from', name(W0), '--to', name(W0 + 3 * WINDOW))
  expect(code).toBe(1)
  expect(found).toMatchObject({ right: 2, wrong: 1 })
  expect(found.summary).toContain(`web-traffic replay ${name(start.getTime()).replace('.000', '')}`)
  const kinds = found.windows[0]!.differences.map(({ host, referrer, country, stored, counted }) => [
    country ?? host,
    referrer,
    stored === null ? 'missing' : counted === null ? 'extra' : 'changed',
  ])
  expect(kinds.sort()).toEqual([
    ['US', 'https://r-1.example/', 'missing'],
    ['a.example', 'https://r-2.example/', 'changed'],
    ['x.example', '', 'extra'],
  ])

  const before = await revisions()
  expect(await replay(name(start.getTime() + 1_000))).toMatchObject({
    code: 0,
    found: { replayed: 1, unchanged: 0, windows: [{ start: start.getTime(), revision: 2 }] },
  })
  await expectCounts(pipeline.db, await reference())
  expect(await verify()).toMatchObject({ code: 0, found: { right: windows } })

  // Nothing is left to be done: no result gets another revision.
  expect(await replay('--all')).toMatchObject({ code: 0, found: { replayed: 0, unchanged: windows } })
  expect(await revisions()).toEqual(before.map((revision, i) => (i === 1 ? 2 : revision)))
}, 300_000)

test('late events are brought in once, on demand, while traffic goes on', async () => {
  const sent = await counted()
  const { hits, late } = await reference()
  expect(late.size).toBeGreaterThan(0)
  const listed = JSON.parse(await pipeline.command('late', '--limit', '1000', '--json')) as CountedRow[]
  const rows = listed.map(row => ({ ...row, window_start: new Date(row.window_start) }))
  expect(differences(byGroup(rows), late)).toEqual([])
  expect(await pipeline.command('late', '--cause', 'closed')).toContain('No event was late.')
  // Without being asked to, a replay leaves them late.
  expect(await replay('--late')).toMatchObject({ code: 0, found: { replayed: 0 } })

  // Live traffic meanwhile: windows after the others, still open.
  const live = Array.from({ length: 500 }, (_, i) => event(i % 2, Date.now() + i))
  const [more] = await Promise.all([pipeline.send(live), replay('--late', '--include-late')])
  const lateWindows = fold([late], 1).size
  expect((await revisions()).filter(revision => revision === 2)).toHaveLength(lateWindows)
  const stored = await pipeline.sums()
  expect(stored).toMatchObject({ hits: sent, late: 0, rejected: 0 })
  const marked = await pipeline.query<{ hits: string }>(
    'select sum(num_hits) as hits from late_deltas where brought_in = 2',
  )
  expect(Number(marked[0]!.hits)).toBe([...late.values()].reduce((sum, count) => sum + count, 0))
  const everything = { hits: new Map(fold([hits, late])), late: new Map(), rejected: 0 }
  await expectCounts(pipeline.db, everything)

  expect(await replay('--late', '--include-late')).toMatchObject({ found: { replayed: 0, unchanged: 0 } })
  expect(await replay('--all')).toMatchObject({ code: 0, found: { replayed: 0 } })
  expect((await verify()).code).toBe(0)
  const { records } = await pipeline.untilDone(sent + more)
  expect(records).toBe(sent + more)
}, 300_000)

/** The database that comes with the project, with one country taken for another. */
function wrongDatabase(folder: string): string {
  const right = readFileSync(
    require.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb'),
  )
  const wrong = Buffer.from(right)
  // A text of two bytes in the data section, which sixteen zeros part from the tree (MaxMind DB file format 2.0).
  const data = right.indexOf(Buffer.alloc(16))
  for (let at = right.indexOf('BUS', data); at >= 0; at = right.indexOf('BUS', at + 1))
    wrong.write('XX', at + 1)
  const file = join(folder, 'wrong.mmdb')
  writeFileSync(file, wrong)
  return file
}

test('after a country database that was wrong the hits of each window are placed anew', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'web-traffic-wrong-database-'))
  try {
    const GEO_DATABASE = wrongDatabase(folder)
    pipeline = new TestPipeline()
    await pipeline.begin(2)
    const misled = pipeline.startWorker('all', { GEO_DATABASE })
    const sent = await pipeline.send(traffic())
    await pipeline.untilAccounted(sent)
    const countries = async () =>
      (
        await pipeline.query<{ country: string }>(
          'select distinct country from aggregated_web_traffic_by_country order by 1',
        )
      ).map(({ country }) => country)
    expect(await countries()).toEqual(['NL', 'XX'])

    await pipeline.stopWorker(misled)
    pipeline.startWorker()
    const windows = (await revisions()).length
    const { found, code } = await verify()
    expect({ code, wrong: found.wrong, right: found.right }).toEqual({ code: 1, wrong: windows, right: 0 })
    const tables = found.windows.flatMap(({ differences }) => differences.map(({ table }) => table))
    expect(new Set(tables)).toEqual(new Set(['aggregated_web_traffic_by_country']))
    expect(await replay('--all')).toMatchObject({ code: 0, found: { replayed: windows, unchanged: 0 } })
    expect(await countries()).toEqual(['NL', 'US'])
    const { hits } = await reference()
    const rows = await pipeline.db.selectFrom('aggregated_web_traffic_by_country').selectAll().execute()
    expect(differences(byGroup(rows), hits)).toEqual([])
    expect(await replay('--all')).toMatchObject({ code: 0, found: { replayed: 0, unchanged: windows } })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 300_000)

test('a day is verified by a schedule, which can be taken away', async () => {
  const yesterday = Math.floor(Date.now() / DAY) * DAY - DAY
  await start()
  const sent = await pipeline.send([
    event(0, yesterday - WINDOW),
    event(1, yesterday - WINDOW),
    ...Array.from({ length: 60 }, (_, i) => event(i % 2, yesterday + i * MINUTE)),
    event(0, yesterday + DAY),
    event(1, yesterday + DAY),
  ])
  await pipeline.untilAccounted(sent)
  expect(await pipeline.command('verify', '--schedule')).toContain('02:00 UTC')
  expect(await pipeline.command('verify', '--schedule')).toContain('02:00 UTC')
  const { group } = pipeline.config.settings
  const nightly = () =>
    withTemporal(async client => {
      const schedule = client.schedule.getHandle(verifyId(group, 'daily'))
      const { spec, info } = await schedule.describe()
      expect(spec.calendars).toMatchObject([{ hour: [{ start: 2, end: 2 }], minute: [{ start: 0, end: 0 }] }])
      const before = info.recentActions.length
      await schedule.trigger()
      for (;;) {
        const { recentActions } = (await schedule.describe()).info
        const { workflow } = recentActions.at(-1)?.action ?? {}
        if (recentActions.length > before && workflow)
          return client.workflow.getHandle(workflow.workflowId).result() as Promise<VerifySummary>
        await sleep(100)
      }
    })
  // The day before only: neither the window before it nor the one after.
  expect(await nightly()).toMatchObject({ right: 12, wrong: 0, missing: [] })
  await pipeline.db
    .deleteFrom('aggregated_web_traffic')
    .where('window_start', '=', new Date(yesterday + WINDOW))
    .execute()
  await expect(nightly()).rejects.toMatchObject({
    cause: { type: 'Differences', message: expect.stringContaining('11 windows are right, 1 is not.') },
  })
  await pipeline.command('verify', '--unschedule')
  expect((await pipeline.attempt('verify', '--unschedule')).code).toBe(1)
}, 300_000)

test('what came after its window had closed is no hit for a replay either', async () => {
  await start()
  await pipeline.send([event(0, W0), event(1, W0), event(1, W0 + 2 * WINDOW)])
  await pipeline.untilAccounted(3)
  await pipeline.send([event(0, W0 + MINUTE), event(0, W0 + 2 * MINUTE)])
  await pipeline.untilAccounted(5)
  expect(await verify()).toMatchObject({ code: 0, found: { right: 2, wrong: 0 } })
  expect(await replay('--all')).toMatchObject({ code: 0, found: { replayed: 0, unchanged: 2 } })
  expect(await pipeline.sums()).toMatchObject({ hits: 3, late: 2 })
}, 300_000)

test('a window whose records Kafka no longer has is named and left as it is', async () => {
  await counted()
  const { topic } = pipeline.config.settings
  await pipeline.withAdmin(async admin => {
    // kafkajs deletes records only of a topic that it has looked up.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '300' }] })
  })
  const { found, code } = await replay('--all')
  expect(code).toBe(1)
  expect(found.gone).toBeGreaterThanOrEqual(2)
  expect(found.goneWindows[0]).toBe(name(W0).replace('.000', ''))
  expect(found.replayed).toBe(0)
  expect(found.unchanged).toBeGreaterThanOrEqual(2)
  expect((await revisions()).every(revision => revision === 1)).toBe(true)
}, 300_000)
