import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { GroupCounter } from '../../src/core/counts/columnar'
import type { Delta, RangeExceptions, ToldBook } from '../../src/core/window/protocol'
import type { CountedStretch } from '../../src/core/window/recount'
import { balanceOf } from '../../src/postgres/books'
import { publishWindow } from '../../src/postgres/publish-window'
import { recordClosed } from '../../src/postgres/record-closed'
import { recordExceptions } from '../../src/postgres/record-exceptions'
import { repairWindow } from '../../src/postgres/repair-window'
import { stageDelta } from '../../src/postgres/staged-deltas'
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
    `truncate window_results, aggregated_web_traffic, aggregated_web_traffic_by_country, exception_ranges,
      late_deltas, rejected_counts, rejected_events, window_books, staged_deltas, staged_pieces`,
  )
})

const TOPIC = 'events'
const HITS: Group[] = [
  ['a.example', '', 'DE', 3],
  ['b.example', 'r', 'FR', 4],
]
const LATE = { windowStart: T0 - WINDOW, ...columns(['late.example', '', 'DE', 2]) }

/** Offsets 10 to 99 of partition 0, with 7 hits up to 40, and 2 late events and 1 rejected record up to 50. */
function stretch(more: Partial<CountedStretch> = {}): CountedStretch {
  const exceptions: RangeExceptions = {
    ...{ partition: 0, from: 10, window: T0, late: [LATE] },
    ...{ rejected: { invalid_json: 1 }, samples: [[45, 'invalid_json']] },
  }
  const bounds = { partition: 0, from: 10, basis: null, to: 100, hitsTo: 100, lastHit: 40, last: 50 }
  return { ...bounds, hits: 7, exceptions, records: 3, lost: 0, ...more }
}

const BOOK: ToldBook = { book: 1, hits: 7, exceptions: 3 }

function repair(
  groups = HITS,
  options: {
    books?: ToldBook[]
    acceptLoss?: boolean
    counted?: CountedStretch[]
    withLost?: CountedStretch[]
  } = {},
) {
  const { books = [BOOK], acceptLoss = false, counted = [stretch()], withLost = counted } = options
  const counter = new GroupCounter()
  for (const group of groups) counter.add(...group)
  return repairWindow(database.db, {
    ...{ start: T0, end: T0 + WINDOW, topic: TOPIC, counter, books, acceptLoss },
    stretches: lost => (lost ? withLost : counted),
  })
}

function delta(from: number, last: number, groups: Group[], more: Partial<Delta> = {}): Delta {
  const hits = groups.reduce((sum, [, , , hits]) => sum + hits, 0)
  return { partition: 0, from, basis: null, first: from, last, hits, ...columns(...groups), ...more }
}

const record = (range: Partial<RangeExceptions>) =>
  recordExceptions(database.db, TOPIC, WINDOW, {
    ...{ partition: 0, from: 10, window: T0, late: [], rejected: {}, samples: [], ...range },
  })
const late = (deltas: Delta[]) =>
  recordClosed(database.db, { start: T0, topic: TOPIC, windowSize: WINDOW, deltas })
const rejected = async () =>
  database.rows('select partition, reason, records::int from rejected_counts where records <> 0 order by 2')

test('a window that never arrived is published with its exceptions, and a repeat changes nothing', async () => {
  const balance = { told: { hits: 7, exceptions: 3 }, accounted: { hits: 7, exceptions: 3 } }
  expect(await repair()).toMatchObject({
    ...{ outcome: 'repaired', revision: 1, hits: 7, hitsBefore: 0, exceptions: 3, balance },
    lost: { hits: 0, exceptions: 0 },
  })
  expect(await balanceOf(database.db, T0)).toEqual(balance)
  expect(await database.rows('select status, num_hits::int, partitions from window_results')).toEqual([
    {
      status: 'closed',
      num_hits: 7,
      partitions: [{ partition: 0, from: 10, basis: null, last: 50, counted: 40 }],
    },
  ])
  expect(await rejected()).toEqual([{ partition: 0, reason: 'invalid_json', records: 1 }])
  const before = await database.contents()
  expect(await repair()).toMatchObject({ outcome: 'unchanged', revision: 1, hits: 7, balance })
  expect(await database.contents()).toEqual(before)
})

test('after a repair the same records are repeats, in any ranges, and later ones are late', async () => {
  await repair()
  const before = await database.contents()
  expect(await record({ from: 10, rejected: { invalid_json: 1 } })).toBe(false)
  expect(await record({ from: 44, late: [LATE] })).toBe(false)
  expect(await late([delta(10, 30, HITS), delta(31, 50, [])])).toMatchObject({ repeats: 2, lateHits: 0 })
  expect(await database.contents()).toEqual(before)
  expect(await record({ from: 60, rejected: { invalid_json: 5 } })).toBe(true)
  expect(await late([delta(70, 80, [['a.example', '', 'DE', 1]])])).toMatchObject({ lateHits: 1 })
})

test('the exceptions recorded for some ranges are replaced by those of the log', async () => {
  await record({ from: 10, rejected: { invalid_json: 1, missing_host: 1 } })
  await record({ from: 30, late: [LATE] })
  await record({ from: 30, window: T0 + WINDOW, rejected: { missing_host: 4 } })
  await stageDelta(database.db, T0, delta(10, 30, HITS))
  expect(await repair()).toMatchObject({ exceptionsBefore: 4, exceptions: 3 })
  expect(await rejected()).toEqual([
    { partition: 0, reason: 'invalid_json', records: 1 },
    { partition: 0, reason: 'missing_host', records: 4 },
  ])
  expect(await database.rows('select sum(num_hits)::int as late from late_deltas')).toEqual([{ late: 2 }])
  expect(await database.rows('select from staged_deltas')).toEqual([])
})

test('late events that a replay brought in elsewhere stay there, and are not recorded twice', async () => {
  await record({ from: 30, late: [LATE] })
  await database.pool.query('update late_deltas set brought_in = 2')
  expect(await repair()).toMatchObject({ outcome: 'repaired', exceptions: 3 })
  expect(await database.rows('select sum(num_hits)::int as late, max(brought_in) from late_deltas')).toEqual([
    { late: 2, max: 2 },
  ])
})

test('events that arrived after the window had closed become hits if the log is read up to them', async () => {
  const first = {
    hits: 3,
    counts: columns(HITS[0]!),
    applied: [{ partition: 0, from: 10, basis: null, last: 20 }],
  }
  await publishWindow(database.db, {
    ...{ start: T0, end: T0 + WINDOW, maxGroups: 100, revision: 1, status: 'closed', ...first },
    books: [{ book: 1, hits: 3, exceptions: 0 }],
  })
  await late([delta(30, 40, [HITS[1]!]), delta(100, 110, [['c.example', '', 'DE', 5]])])
  expect(await repair(HITS, { books: [{ book: 2, hits: 4, exceptions: 3 }] })).toMatchObject({
    ...{ outcome: 'repaired', revision: 2, hits: 7, hitsBefore: 3 },
    balance: { told: { hits: 7, exceptions: 3 }, accounted: { hits: 7, exceptions: 3 } },
  })
  // What lies beyond is still late, and in a later book.
  expect(
    await database.rows('select host, num_hits::int from late_deltas where cause = $1', ['closed']),
  ).toEqual([{ host: 'c.example', num_hits: 5 }])
  expect(await late([delta(100, 110, [['c.example', '', 'DE', 5]])])).toMatchObject({ repeats: 1 })
})

test('a window that has lost records is published only if the loss is accepted, and the loss is reported', async () => {
  const before = await database.contents()
  const fewer = [HITS[0]!]
  expect(await repair(fewer)).toEqual({
    outcome: 'incomplete',
    told: { hits: 7, exceptions: 3 },
    found: { hits: 3, exceptions: 3 },
  })
  expect(await database.contents()).toEqual(before)
  expect(await repair(fewer, { acceptLoss: true })).toMatchObject({
    ...{ outcome: 'repaired', hits: 3, lost: { hits: 4, exceptions: 0 } },
    balance: { told: { hits: 3, exceptions: 3 }, accounted: { hits: 3, exceptions: 3 } },
  })
  const after = await database.contents()
  expect(await repair(fewer)).toMatchObject({ outcome: 'unchanged', lost: { hits: 4, exceptions: 0 } })
  expect(await database.contents()).toEqual(after)
  // The lost deltas count as applied.
  expect(await late([delta(60, 99, [HITS[1]!])])).toMatchObject({ repeats: 1 })
})

test('records that retention removed before they were read are exceptions if the books say so', async () => {
  const lost = stretch({
    records: 13,
    exceptions: { ...stretch().exceptions, rejected: { invalid_json: 1, lost_to_retention: 10 } },
  })
  const found = await repair(HITS, { books: [{ book: 1, hits: 7, exceptions: 13 }], withLost: [lost] })
  expect(found).toMatchObject({ outcome: 'repaired', exceptions: 13 })
  expect(await rejected()).toContainEqual({ partition: 0, reason: 'lost_to_retention', records: 10 })
})

test('a window with only exceptions gets no result, and a window without books keeps its exceptions', async () => {
  const none = stretch({ hits: 0, lastHit: 9 })
  expect(await repair([], { books: [{ book: 1, hits: 0, exceptions: 3 }], counted: [none] })).toMatchObject({
    outcome: 'repaired',
    hits: 0,
    exceptions: 3,
  })
  expect(await database.rows('select from window_results')).toEqual([])
  expect(await record({ from: 20, rejected: { invalid_json: 1 } })).toBe(false)

  await database.pool.query('truncate exception_ranges, window_books, rejected_counts')
  expect(await repair(HITS, { books: [{ book: 2 }] })).toMatchObject({ outcome: 'repaired', hits: 7 })
  expect(await rejected()).toEqual([])
})
