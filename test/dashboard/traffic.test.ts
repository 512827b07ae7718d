import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Timeline } from '../../src/dashboard/api'
import { readOnly } from '../../src/dashboard/read-only'
import { breakdown, timeline } from '../../src/dashboard/traffic'
import { windowPage, windowResult } from '../../src/dashboard/windows'
import { publishWindow } from '../../src/postgres/publish-window'
import { columns, MINUTE, T0, TestDatabase, WINDOW, type Group } from '../postgres/support'

const WINDOWS = 40
/** More hosts than the page lists, each with different referrers and countries. */
const HOSTS = 60

/** The totals differ between hosts, so that the ranking is unique. */
function groupsOf(window: number): Group[] {
  return Array.from({ length: HOSTS }, (_, host) => [
    `host-${host}.example`,
    host % 3 === 0 ? '' : `https://site-${(host * 7 + window) % 25}.example/`,
    ['DE', 'US', 'FR', '??'][(host + window) % 4]!,
    1 + host * 3 + ((window * host) % 5),
  ])
}

const start = (window: number) => T0 + window * WINDOW
const everything = Array.from({ length: WINDOWS }, (_, window) =>
  groupsOf(window).map(group => [start(window), ...group] as const),
).flat()

type Row = (typeof everything)[number]

/** The expected ranking, counted from the published rows. */
function counted(by: (row: Row) => string, rows: readonly Row[]): [name: string, hits: number][] {
  const hits = new Map<string, number>()
  for (const row of rows) hits.set(by(row), (hits.get(by(row)) ?? 0) + row[4])
  return [...hits].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
}

const within = ({ from, to }: { from: number; to: number }, host?: string) =>
  everything.filter(([at, name]) => at >= from && at < to && (host === undefined || name === host))

const sum = (rows: readonly Row[]) => rows.reduce((all, row) => all + row[4], 0)

let database: TestDatabase

beforeAll(async () => {
  database = await TestDatabase.migrated()
  for (let window = 0; window < WINDOWS; window++)
    await publishWindow(database.db, {
      start: start(window),
      end: start(window) + WINDOW,
      revision: 1,
      status: 'closed',
      hits: sum(within({ from: start(window), to: start(window) + WINDOW })),
      counts: columns(...groupsOf(window)),
      applied: [{ partition: 0, from: 0, basis: null, last: window }],
      maxGroups: 250_000,
    })
  const late = (partition: number, window: number, host: number, hits: number, broughtIn: number | null) =>
    database.rows(`insert into late_deltas values ($1, $2, $3, $4, $5, '', 'DE', $6, 'watermark', $7)`, [
      partition,
      window,
      new Date(start(window)),
      new Date(start(window) + WINDOW),
      `host-${host}.example`,
      hits,
      broughtIn,
    ])
  await late(0, 1, 1, 3, null)
  await late(0, 2, 2, 4, null)
  await late(1, 39, 1, 5, null)
  await late(1, 38, 1, 100, 2)
})
afterAll(() => database.drop())

const read = (selection: Parameters<typeof timeline>[0]): Promise<Timeline> =>
  readOnly(database.db, timeline(selection))

describe('hits over time', () => {
  test('every hit is in one bucket of one series: one series for each of the seven most frequent hosts, one for the rest', async () => {
    const found = await read({ range: { name: 'all' } })
    expect(found.range).toEqual({ from: T0, to: start(WINDOWS), bucket: WINDOW, windowSize: WINDOW })
    const ranked = counted(row => row[1], everything)
    expect(found.hosts).toHaveLength(50)
    expect(found.hosts.map(({ name, hits }) => [name, hits])).toEqual(ranked.slice(0, 50))
    expect(found.hostCount).toBe(HOSTS)
    expect(found.hits).toBe(sum(everything))
    const drawn = ranked.slice(0, 7).map(([name]) => name)
    expect(found.series.map(({ host }) => host)).toEqual([...drawn, null])
    for (const { host, hits } of found.series)
      for (let window = 0; window < WINDOWS; window++) {
        const rows = within({ from: start(window), to: start(window + 1) })
        const mine = rows.filter(row => (host === null ? !drawn.includes(row[1]) : row[1] === host))
        expect(hits[window]).toBe(sum(mine))
      }
  })

  test('the range of one hour is the last hour with windows', async () => {
    const { range, hits } = await read({ range: { name: '1h' } })
    expect(range).toMatchObject({ from: start(WINDOWS - 12), to: start(WINDOWS) })
    expect(hits).toBe(sum(within(range!)))
  })

  test('a selected host is the only series, even if it is not listed; the list keeps the other hosts', async () => {
    for (const host of ['host-59.example', 'host-0.example']) {
      const found = await read({ range: { name: 'all' }, host })
      expect(found.series.map(series => series.host)).toEqual([host])
      expect(found.hits).toBe(sum(within(found.range!, host)))
      expect(found.series[0]!.hits).toHaveLength(WINDOWS)
      expect(found.series[0]!.hits.reduce((a, b) => a + b)).toBe(found.hits)
      expect(found.hosts.length).toBeGreaterThanOrEqual(50)
    }
    expect(await read({ range: { name: 'all' }, host: `' or true --` })).toMatchObject({ hits: 0 })
  })

  test('without windows in the range there is no timeline; a part of a window selects the whole window', async () => {
    expect(await read({ range: { from: T0 - 10 * WINDOW, to: T0 } })).toMatchObject({ range: null, hits: 0 })
    const { hits } = await read({ range: { from: start(3) + MINUTE, to: start(3) + 2 * MINUTE } })
    expect(hits).toBe(sum(within({ from: start(3), to: start(4) })))
  })
})

describe('breakdown', () => {
  test.each([undefined, 'host-7.example'])('referrers and countries of host %s', async host => {
    const range = { from: start(0), to: start(39) }
    const found = await readOnly(database.db, breakdown({ range, ...(host !== undefined && { host }) }))
    const rows = within(range, host)
    for (const [ranking, column] of [
      [found.referrers, 2],
      [found.countries, 3],
    ] as const) {
      const ranked = counted(row => row[column], rows)
      expect(ranking.top.map(({ name, hits }) => [name, hits])).toEqual(ranked.slice(0, 10))
      expect(ranking.names).toBe(ranked.length)
      expect(ranking.hits).toBe(sum(rows))
    }
  })

  test('late events are filtered by range and host, and exclude those that a replay has counted', async () => {
    const late = (selection: Parameters<typeof breakdown>[0]) =>
      readOnly(database.db, breakdown(selection)).then(found => found.late)
    const cause = 'watermark'
    expect(await late({ range: { name: 'all' } })).toEqual([
      { partition: 0, cause, hits: 7 },
      { partition: 1, cause, hits: 5 },
    ])
    expect(await late({ range: { from: start(0), to: start(5) }, host: 'host-1.example' })).toEqual([
      { partition: 0, cause, hits: 3 },
    ])
  })
})

describe('windows', () => {
  test('are listed newest first, a page at a time, to the oldest', async () => {
    const seen: number[] = []
    let before: number | undefined
    for (let more = true; more; before = seen.at(-1)) {
      const page = await readOnly(database.db, windowPage(before))
      seen.push(...page.windows.map(window => window.start))
      more = page.older
    }
    expect(seen).toEqual(Array.from({ length: WINDOWS }, (_, i) => start(WINDOWS - 1 - i)))
  })

  test('a window has its counts, hosts, referrers, countries and the offsets read', async () => {
    const found = (await readOnly(database.db, windowResult(start(2))))!
    const rows = within({ from: start(2), to: start(3) })
    expect(found).toMatchObject({ hits: sum(rows), late: 4, revision: 1, status: 'closed', groups: HOSTS })
    expect(found.hosts.top.map(({ name, hits }) => [name, hits])).toEqual(
      counted(row => row[1], rows).slice(0, 10),
    )
    expect(found.countries.hits).toBe(sum(rows))
    expect(found.read).toEqual([{ partition: 0, from: 0, last: 2 }])
    expect(await readOnly(database.db, windowResult(start(999)))).toBeNull()
  })
})

test('queries for the page are read-only and have a timeout', async () => {
  await expect(
    readOnly(database.db, transaction => transaction.deleteFrom('window_results').execute()),
  ).rejects.toThrow('read-only')
  const rows = await readOnly(database.db, transaction => sql`show statement_timeout`.execute(transaction))
  expect(rows).toMatchObject({ rows: [{ statement_timeout: '10s' }] })
})
