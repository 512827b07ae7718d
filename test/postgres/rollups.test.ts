import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { sql } from 'kysely'
import { divides, PERIODS } from '../../src/core/window/periods'
import { GroupCounter } from '../../src/core/counts/columnar'
import { breakdown, timeline } from '../../src/dashboard/traffic'
import { readOnly } from '../../src/dashboard/read-only'
import { sealAll } from '../../src/postgres/maintain'
import { publishWindow } from '../../src/postgres/publish-window'
import { replayWindow } from '../../src/postgres/replay-window'
import { partsOf } from '../../src/postgres/rollups'
import { sealPeriod, unsealedPeriods } from '../../src/postgres/seal'
import { Random } from '../../src/dev/traffic/random'
import { columns, Gate, TestDatabase, WINDOW, type Group } from './support'

const DAY = 86_400_000
const HOUR = 3_600_000
/** Three days of one month, all of the next, and two of a third. */
const FROM = Date.UTC(2026, 0, 29)
const TO = Date.UTC(2026, 2, 3)
const MONTH = Date.UTC(2026, 1)
const COUNTRIES = ['DE', 'US', '??']

let database: TestDatabase
/** What was published, by window. */
const published = new Map<number, Group[]>()
const random = new Random(7)

beforeAll(async () => {
  database = await TestDatabase.migrated()
})
afterAll(() => database.drop())

const unreported = () => undefined

/** Distinct within a window, and shared between windows. */
function someGroups(): Group[] {
  return Array.from({ length: 8 }, (_, n) => [
    `host-${n % 3}.example`,
    n === 0 ? '' : `https://site-${n * 3 + random.below(3)}.example/`,
    random.pick(COUNTRIES),
    1 + random.below(100),
  ])
}

async function publish(
  start: number,
  groups: Group[],
  revision = 1,
  status: 'published' | 'closed' = 'closed',
) {
  await publishWindow(database.db, {
    start,
    end: start + WINDOW,
    revision,
    status,
    hits: groups.reduce((sum, group) => sum + group[3], 0),
    counts: columns(...groups),
    applied: [],
    maxGroups: 250_000,
  })
  published.set(start, groups)
}

/** Makes the results old enough for their hour to be rolled up. */
const settle = () => database.rows(`update window_results set closed_at = closed_at - interval '1 hour'`)

async function seal(): Promise<void> {
  await settle()
  await sealAll(database.db, unreported)
}

const sealed = async () =>
  (
    await database.rows<{ period: string; start: Date }>(
      'select period, period_start as start from sealed_periods order by 2, 1',
    )
  ).map(({ period, start }) => `${period} ${start.toISOString().slice(0, 13)}`)

/** The expected hits of a range by host, referrer and country, counted from what was published. */
function counted(from: number, to: number, host?: string) {
  const by = {
    host: new Map<string, number>(),
    referrer: new Map<string, number>(),
    country: new Map<string, number>(),
  }
  const add = (map: Map<string, number>, name: string, hits: number) =>
    map.set(name, (map.get(name) ?? 0) + hits)
  for (const [start, groups] of published)
    if (start >= from && start < to)
      for (const [name, referrer, country, hits] of groups) {
        add(by.host, name, hits)
        if (host !== undefined && name !== host) continue
        add(by.referrer, referrer, hits)
        add(by.country, country, hits)
      }
  const ranked = (map: Map<string, number>) =>
    [...map].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).map(([name, hits]) => ({ name, hits }))
  return { hosts: ranked(by.host), referrers: ranked(by.referrer), countries: ranked(by.country) }
}

const hitsOf = (ranked: { hits: number }[]) => ranked.reduce((sum, { hits }) => sum + hits, 0)

/** Compares the dashboard's answers over many ranges with what was published. */
async function expectRight(): Promise<void> {
  const ranges = Array.from({ length: 12 }, () => {
    const ends = [random.below((TO - FROM) / WINDOW), random.below((TO - FROM) / WINDOW)].sort(
      (a, b) => a - b,
    )
    return { from: FROM + ends[0]! * WINDOW, to: FROM + (ends[1]! + 1) * WINDOW }
  })
  for (const range of [{ from: FROM, to: TO }, ...ranges]) {
    const { range: found, hosts, hits } = await readOnly(database.db, timeline({ range }))
    if (found === null) continue
    const { from, to } = found
    const expected = counted(from, to)
    expect({ hosts, hits }).toEqual({ hosts: expected.hosts, hits: hitsOf(expected.hosts) })
    for (const host of [undefined, 'host-1.example']) {
      const only = host === undefined ? {} : { host }
      const { referrers, countries } = await readOnly(
        database.db,
        breakdown({ range: { from, to }, ...only }),
      )
      const { referrers: sites, countries: lands } = counted(from, to, host)
      expect(referrers).toEqual({ top: sites.slice(0, 10), names: sites.length, hits: hitsOf(sites) })
      expect(countries).toEqual({ top: lands.slice(0, 10), names: lands.length, hits: hitsOf(lands) })
    }
  }
}

describe('the answers match what was published', () => {
  beforeAll(async () => {
    const starts = new Set([FROM, TO - WINDOW])
    while (starts.size < 150) starts.add(FROM + random.below((TO - FROM) / WINDOW) * WINDOW)
    // Some hours have several windows.
    for (let n = 0; n < 12; n++) starts.add(MONTH + 5 * DAY + n * WINDOW)
    for (const start of starts) await publish(start, someGroups())
  })

  test('before anything is rolled up', async () => {
    expect(await sealed()).toEqual([])
    await expectRight()
  })

  test('after hours, days and months are rolled up, for bars at least as long as the periods used', async () => {
    await seal()
    const all = await sealed()
    expect(all.filter(name => name.startsWith('month'))).toEqual([
      'month 2026-01-01T00',
      'month 2026-02-01T00',
      'month 2026-03-01T00',
    ])
    expect(all.filter(name => name.startsWith('day')).length).toBeGreaterThan(20)
    expect(all.filter(name => name.startsWith('hour')).length).toBeGreaterThan(100)
    await expectRight()
    const periods = (bucket?: number) =>
      partsOf(
        database.db,
        { from: FROM, to: TO },
        PERIODS.filter(period => bucket === undefined || divides(period, bucket)),
      ).then(pieces => [...new Set(pieces.map(({ period }) => period))])
    expect(await periods()).toEqual(expect.arrayContaining(['month', 'day']))
    expect(await periods(DAY)).toEqual(expect.not.arrayContaining(['month']))
    expect(await periods(5 * 60_000)).toEqual(['window'])
  })

  test('after a window is published again, which removes the seals of its hour, day and month', async () => {
    const start = MONTH + 5 * DAY
    await database.rows(`update window_results set status = 'published' where window_start = $1`, [
      new Date(start),
    ])
    const before = await sealed()
    await publish(start, someGroups(), 2)
    const gone = ['month 2026-02-01T00', 'day 2026-02-06T00', 'hour 2026-02-06T00']
    expect(before).toEqual(expect.arrayContaining(gone))
    expect(await sealed()).toEqual(before.filter(name => !gone.includes(name)))
    await expectRight()
    await seal()
    expect(await sealed()).toEqual(before)
    await expectRight()
  })

  test('after a replay has changed counts', async () => {
    const start = MONTH + 5 * DAY + 3 * WINDOW
    const groups = someGroups()
    const counter = new GroupCounter()
    for (const group of groups) counter.add(...group)
    expect(await replayWindow(database.db, { start, counter, includeLate: false })).toMatchObject({
      outcome: 'replayed',
    })
    published.set(start, groups)
    await expectRight()
    await seal()
    await expectRight()
  })

  test('after rows are changed, moved, added and deleted by hand', async () => {
    const start = new Date(MONTH + 5 * DAY + 4 * WINDOW)
    const tables = ['aggregated_web_traffic', 'aggregated_web_traffic_by_country']
    const all = async (statement: string, parameters: unknown[]) => {
      for (const table of tables) await database.rows(statement.replace('TABLE', table), parameters)
    }
    await all('update TABLE set num_hits = num_hits + 1000 where window_start = $1', [start])
    published.set(
      start.getTime(),
      published.get(start.getTime())!.map(([h, r, c, hits]) => [h, r, c, hits + 1000]),
    )
    await expectRight()
    await seal()
    const other = new Date(start.getTime() + DAY)
    await all('update TABLE set window_start = $2 where window_start = $1', [start, other])
    published.set(other.getTime(), [
      ...(published.get(other.getTime()) ?? []),
      ...published.get(start.getTime())!,
    ])
    published.delete(start.getTime())
    await expectRight()
    await seal()
    await all('delete from TABLE where window_start = $1', [other])
    published.delete(other.getTime())
    await expectRight()
    await seal()
    await database.rows('truncate aggregated_web_traffic, aggregated_web_traffic_by_country')
    published.clear()
    await expectRight()
    expect(await sealed()).toEqual([])
  })
})

describe('rollups are complete', () => {
  const start = Date.UTC(2026, 5, 1, 10)

  beforeEach(async () => {
    await database.rows('truncate window_results, aggregated_web_traffic, aggregated_web_traffic_by_country')
    published.clear()
    await publish(start, someGroups())
  })

  test('an hour with a very recent result is left for the next run', async () => {
    expect(await unsealedPeriods(database.db, 'hour')).toEqual([])
    await settle()
    expect(await unsealedPeriods(database.db, 'hour')).toEqual([start])
    await publish(start + WINDOW, someGroups())
    expect(await unsealedPeriods(database.db, 'hour')).toEqual([])
    expect(await unsealedPeriods(database.db, 'day')).toEqual([])
  })

  test('and so is an hour that is not over', async () => {
    const hour = Math.floor(Date.now() / HOUR) * HOUR
    await publish(hour, someGroups())
    await publish(hour - HOUR, someGroups())
    await settle()
    expect(await unsealedPeriods(database.db, 'hour')).toEqual([start, hour - HOUR])
  })

  test('a window that is published while its hour is rolled up waits, and is in the answers', async () => {
    await settle()
    const gate = await Gate.close(database, 'traffic_rollups')
    try {
      const sealing = sealPeriod(database.db, 'hour', start)
      await gate.awaitStopped()
      const publishing = publish(start + WINDOW, someGroups())
      await gate.awaitHeld(2)
      await gate.open()
      await Promise.all([sealing, publishing])
    } finally {
      await gate.remove()
    }
    expect(await sealed()).toEqual([])
    const { hits } = await readOnly(database.db, timeline({ range: { name: 'all' } }))
    expect(hits).toBe(hitsOf(counted(start, start + HOUR).hosts))
  })

  test('an hour with a window that is being written is not rolled up without it, and the wait is short', async () => {
    await settle()
    const gate = await Gate.close(database, 'aggregated_web_traffic')
    try {
      const publishing = publish(start + WINDOW, someGroups())
      await gate.awaitStopped()
      await expect(sealPeriod(database.db, 'hour', start)).rejects.toMatchObject({ code: '55P03' })
      await gate.open()
      await publishing
    } finally {
      await gate.remove()
    }
    expect(await sealed()).toEqual([])
  })

  test('a month with many unsealed hours is read by its days, not in a thousand parts', async () => {
    for (let n = 0; n < 240; n++)
      await sql`insert into sealed_periods values ('hour', ${new Date(start + 2 * n * HOUR)})`.execute(
        database.db,
      )
    const pieces = await partsOf(database.db, { from: start, to: start + 30 * DAY })
    expect(pieces).toEqual([{ period: 'window', from: start, to: start + 30 * DAY }])
  })
})
