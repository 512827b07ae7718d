import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { GroupCounter } from '../../src/core/counts/columnar'
import { firstGroups } from '../../src/core/counts/group-limit'
import { selectClosedWindows } from '../../src/postgres/closed-windows'
import { publishWindow } from '../../src/postgres/publish-window'
import { replayWindow } from '../../src/postgres/replay-window'
import { verifyWindow } from '../../src/postgres/verify-window'
import { columns, measured, T0, TestDatabase, WINDOW, type Group } from './support'

let database: TestDatabase

beforeAll(async () => {
  database = await TestDatabase.migrated()
})

afterAll(async () => {
  await database.drop()
})

beforeEach(async () => {
  await database.pool.query(
    'truncate window_results, aggregated_web_traffic, aggregated_web_traffic_by_country, late_deltas',
  )
})

const GROUPS: Group[] = [
  ['a.example', 'https://1.example/', 'DE', 3],
  ['a.example', 'https://2.example/', 'DE', 4],
  ['a.example', 'https://3.example/', 'FR', 5],
]

const publish = (status: 'published' | 'closed', maxGroups = 250_000, unlocated = 0) =>
  publishWindow(database.db, {
    start: T0,
    end: T0 + WINDOW,
    revision: 1,
    status,
    maxGroups,
    hits: 12,
    unlocated,
    counts: columns(...GROUPS),
    applied: [],
  })

function counted(groups: Group[], maxGroups = 250_000): GroupCounter {
  const counter = new GroupCounter(firstGroups(maxGroups))
  for (const [host, referrer, country, hits] of groups) counter.add(host, referrer, country, hits)
  return counter
}

const replay = (counter: GroupCounter) =>
  replayWindow(database.db, { start: T0, counter, includeLate: false })

test('a window that does not exist or is not closed is left to its workflow', async () => {
  expect(await replay(counted(GROUPS))).toEqual({ outcome: 'not closed' })
  await publish('published')
  const before = await database.contents()
  expect(await replay(counted(GROUPS.slice(1)))).toEqual({ outcome: 'not closed' })
  expect(await database.contents()).toEqual(before)
  expect(await verifyWindow(database.db, T0, counted(GROUPS))).toBeUndefined()
})

test('a count in another order is right, even if a window with too many groups names others', async () => {
  await publish('closed', 1)
  const before = await database.contents()
  const otherOrder = [...GROUPS].reverse()
  expect(counted(otherOrder, 1).folded).toBe(true)
  expect(await verifyWindow(database.db, T0, counted(otherOrder, 1))).toEqual({
    differences: [],
    stored: 12,
    counted: 12,
    missing: 0,
    accepted: { hits: 0, exceptions: 0 },
  })
  expect(await replay(counted(otherOrder, 1))).toEqual({ outcome: 'unchanged', revision: 1 })
  expect(await database.contents()).toEqual(before)
})

test('a lost row of such a window is noticed by the total of its hits', async () => {
  await publish('closed', 1)
  await database.pool.query("delete from aggregated_web_traffic where referrer = '(other)'")
  const found = await verifyWindow(database.db, T0, counted(GROUPS, 1))
  expect(found?.differences).toEqual([
    { table: 'aggregated_web_traffic', host: '(all groups)', referrer: '', stored: 3, counted: 12 },
  ])
  expect(await replay(counted(GROUPS, 1))).toMatchObject({ outcome: 'replayed', revision: 2, hits: 12 })
  expect((await verifyWindow(database.db, T0, counted(GROUPS, 1)))?.differences).toEqual([])
})

test('the rows of a window and its late events are fetched a thousand at a time', async () => {
  const many = Array.from({ length: 2_500 }, (_, i): Group => [
    'a.example',
    `https://r/${i >> 1}`,
    i % 2 ? 'DE' : 'FR',
    1,
  ])
  await publishWindow(database.db, {
    ...{ start: T0, end: T0 + WINDOW, revision: 1, status: 'closed', maxGroups: 250_000, applied: [] },
    ...{ hits: 2_500, counts: columns(...many) },
  })
  await database.pool.query(
    `insert into late_deltas (kafka_partition, range_from, window_start, window_end, host, referrer, country, num_hits, cause)
     select 0, 0, $1, $2, 'late.example', 'https://l/' || i, 'DE', 1, 'watermark' from generate_series(1, 2500) i`,
    [new Date(T0), new Date(T0 + WINDOW)],
  )
  const largest = await measured(database, async db => {
    expect((await verifyWindow(db, T0, counted(many)))?.differences).toEqual([])
    const replayed = await replayWindow(db, { start: T0, counter: counted(many), includeLate: true })
    expect(replayed).toMatchObject({ outcome: 'replayed', hits: 5_000, broughtIn: 2_500 })
    expect((await verifyWindow(db, T0, counted(many)))?.differences).toEqual([])
    const different = await verifyWindow(db, T0, counted(many.slice(2)))
    expect(different?.differences).toEqual([
      {
        table: 'aggregated_web_traffic',
        host: 'a.example',
        referrer: 'https://r/0',
        stored: 2,
        counted: null,
      },
      ...['FR', 'DE'].map(country => ({
        ...{
          table: 'aggregated_web_traffic_by_country',
          host: 'a.example',
          referrer: 'https://r/0',
          country,
        },
        ...{ stored: 1, counted: null },
      })),
    ])
  })
  expect(largest.rows).toBe(1_000)
})

describe('a window with hits whose country lookup failed', () => {
  const FOUND: Group[] = [['a.example', 'https://1.example/', 'US', 3], ...GROUPS.slice(1)]
  const known = () =>
    database.db.selectFrom('traffic_windows').select(['revision', 'unlocated']).executeTakeFirst()
  const selected = (selection: object) => selectClosedWindows(database.db, selection, 10)

  beforeEach(() => publish('closed', 250_000, 3))

  test('is selected until it is replayed, which adds the countries', async () => {
    expect(await selected({ unlocated: true })).toEqual([{ start: T0, groups: 3 }])
    expect(await selected({ late: true })).toEqual([])
    expect(await selected({ late: true, unlocated: true })).toHaveLength(1)
    expect(await replay(counted(FOUND))).toMatchObject({ outcome: 'replayed', revision: 2 })
    expect(await known()).toEqual({ revision: 2, unlocated: 0 })
    expect(await selected({ unlocated: true })).toEqual([])
    expect(await selected({ late: true, unlocated: true })).toEqual([])
  })

  test('whose addresses have no country keeps its revision and is no longer selected', async () => {
    expect(await replay(counted(GROUPS))).toEqual({ outcome: 'unchanged', revision: 1 })
    expect(await known()).toEqual({ revision: 1, unlocated: 0 })
  })

  test('is selected together with windows that only have late events', async () => {
    await publish('closed')
    const start = new Date(T0 + WINDOW)
    const end = new Date(T0 + 2 * WINDOW)
    await publishWindow(database.db, {
      start: start.getTime(),
      end: end.getTime(),
      revision: 1,
      status: 'closed',
      maxGroups: 10,
      hits: 12,
      counts: columns(...GROUPS),
      applied: [],
    })
    const late = { host: 'a.example', referrer: '', country: 'DE', num_hits: 1, cause: 'watermark' } as const
    const at = { kafka_partition: 0, range_from: 0, window_start: start, window_end: end }
    await database.db
      .insertInto('late_deltas')
      .values({ ...late, ...at })
      .execute()
    const starts = async (selection: object) => (await selected(selection)).map(({ start }) => start)
    expect(await starts({ unlocated: true })).toEqual([T0])
    expect(await starts({ late: true })).toEqual([T0 + WINDOW])
    expect(await starts({ late: true, unlocated: true })).toEqual([T0, T0 + WINDOW])
    expect(await starts({ late: true, unlocated: true, from: T0 + 1 })).toEqual([T0 + WINDOW])
  })
})
