import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { GroupCounter } from '../../src/core/columnar'
import { NamedGroups } from '../../src/core/named-groups'
import { publishWindow } from '../../src/postgres/publish-window'
import { replayWindow, verifyWindow } from '../../src/postgres/replay-window'
import { columns, T0, TestDatabase, WINDOW, type Group } from './support'

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

const publish = (status: 'published' | 'closed', maxGroups = 250_000) =>
  publishWindow(database.db, {
    start: T0,
    end: T0 + WINDOW,
    revision: 1,
    status,
    maxGroups,
    hits: 12,
    counts: columns(...GROUPS),
    applied: [],
  })

function counted(groups: Group[], maxGroups = 250_000): GroupCounter {
  const counter = new GroupCounter(new NamedGroups(maxGroups).admits)
  for (const [host, referrer, country, hits] of groups) counter.add(host, referrer, country, hits)
  return counter
}

const replay = (counter: GroupCounter) =>
  replayWindow(database.db, { start: T0, counter, includeLate: false })

test('a window that is not closed, or not there, is left to its workflow', async () => {
  expect(await replay(counted(GROUPS))).toEqual({ outcome: 'not closed' })
  await publish('published')
  const before = await database.contents()
  expect(await replay(counted(GROUPS.slice(1)))).toEqual({ outcome: 'not closed' })
  expect(await database.contents()).toEqual(before)
  expect(await verifyWindow(database.db, T0, counted(GROUPS))).toBeUndefined()
})

test('a count in another order is right, also where it names other groups of a window that has too many', async () => {
  await publish('closed', 1)
  const before = await database.contents()
  const otherOrder = [...GROUPS].reverse()
  expect(counted(otherOrder, 1).folded).toBe(true)
  expect(await verifyWindow(database.db, T0, counted(otherOrder, 1))).toEqual({
    differences: [],
    stored: 12,
    counted: 12,
  })
  expect(await replay(counted(otherOrder, 1))).toEqual({ outcome: 'unchanged', revision: 1 })
  expect(await database.contents()).toEqual(before)
})

test('of such a window a row that was lost is missed by the hits of all groups', async () => {
  await publish('closed', 1)
  await database.pool.query("delete from aggregated_web_traffic where referrer = '(other)'")
  const found = await verifyWindow(database.db, T0, counted(GROUPS, 1))
  expect(found?.differences).toEqual([
    { table: 'aggregated_web_traffic', host: '(all groups)', referrer: '', stored: 3, counted: 12 },
  ])
  expect(await replay(counted(GROUPS, 1))).toMatchObject({ outcome: 'replayed', revision: 2, hits: 12 })
  expect((await verifyWindow(database.db, T0, counted(GROUPS, 1)))?.differences).toEqual([])
})
