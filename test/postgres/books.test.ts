import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { GroupCounter } from '../../src/core/counts/columnar'
import type { Delta, ToldBook } from '../../src/core/window/protocol'
import { balanceOf, enterBooks } from '../../src/postgres/books'
import { publishWindow } from '../../src/postgres/publish-window'
import { recordClosed } from '../../src/postgres/record-closed'
import { recordExceptions } from '../../src/postgres/record-exceptions'
import { replayWindow } from '../../src/postgres/replay-window'
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
    `truncate window_results, aggregated_web_traffic, aggregated_web_traffic_by_country, late_deltas,
      exception_ranges, rejected_counts, rejected_events, window_books`,
  )
})

const GROUP = (hits: number): Group => ['a.example', '', 'DE', hits]

const enter = (books: ToldBook[], start = T0) =>
  database.db.transaction().execute(transaction => enterBooks(transaction, start, books))

const balance = (start = T0) => balanceOf(database.db, start)

const publish = (hits: number, books?: ToldBook[], start = T0) =>
  publishWindow(database.db, {
    start,
    end: start + WINDOW,
    revision: 1,
    status: 'closed',
    maxGroups: 250_000,
    hits,
    counts: hits > 0 ? columns(GROUP(hits)) : columns(),
    applied: [{ partition: 0, from: 0, basis: null, last: 99 }],
    ...(books && { books }),
  })

const close = (deltas: Delta[], books?: ToldBook[], start = T0) =>
  recordClosed(database.db, { start, topic: 'events', windowSize: WINDOW, deltas, ...(books && { books }) })

function delta(first: number, hits: number, rejected = 0): Delta {
  const exceptions = { records: rejected, late: [], rejected: { invalid_json: rejected }, samples: [] }
  return {
    ...{ partition: 0, from: first, basis: T0, first, last: first + 9, hits },
    ...(hits > 0 ? columns(GROUP(hits)) : columns()),
    ...(rejected > 0 && { exceptions }),
  }
}

/** Records late and rejected records that travelled with `window`. */
const record = (from: number, window: number, lateFor: Record<number, number>, rejected = 0) =>
  recordExceptions(database.db, 'events', WINDOW, {
    partition: 0,
    from,
    window,
    late: Object.entries(lateFor).map(([start, hits]) => ({
      windowStart: Number(start),
      ...columns(GROUP(hits)),
    })),
    rejected: rejected > 0 ? { invalid_json: rejected } : {},
    samples: [],
  })

describe('the books of a window', () => {
  test('are entered once each, even if they are sent again with other sums', async () => {
    await enter([{ book: 1, hits: 5, exceptions: 1 }])
    await enter([
      { book: 1, hits: 99, exceptions: 99 },
      { book: 7, hits: 2, exceptions: 0 },
    ])
    await enter([{ book: 1, hits: 1, exceptions: 1 }], T0 + WINDOW)
    expect(await balance()).toEqual({
      told: { hits: 7, exceptions: 1 },
      accounted: { hits: 0, exceptions: 0 },
    })
    expect(await balance(T0 + WINDOW)).toMatchObject({ told: { hits: 1, exceptions: 1 } })
  })

  test('without sums are not entered, and there is no balance', async () => {
    expect(await publish(5, [{ book: 1 }])).toEqual({ written: true, groups: 1, otherHits: 0 })
    expect(await balance()).toBeUndefined()
    expect(await close([], [{ book: 2 }])).toEqual({ lateHits: 0, repeats: 0, overlaps: [] })
  })

  test('are exact beyond 32 bits', async () => {
    await enter([{ book: 2 ** 40, hits: 2 ** 52, exceptions: 2 ** 51 }])
    expect(await balance()).toMatchObject({ told: { hits: 2 ** 52, exceptions: 2 ** 51 } })
  })
})

describe('the balance', () => {
  test('compares the books with the hits of the result and the exceptions that travelled with the window', async () => {
    await record(0, T0, { [T0 - WINDOW]: 2 }, 3)
    // Late for this window, but travelled with another.
    await record(10, T0 + WINDOW, { [T0]: 40 }, 50)
    const right = { hits: 12, exceptions: 5 }
    expect(await publish(12, [{ book: 1, ...right }])).toEqual({
      ...{ written: true, groups: 1, otherHits: 0 },
      balance: { told: right, accounted: right },
    })
    // A repeat returns it too.
    expect(await publish(12, [{ book: 1, ...right }])).toMatchObject({
      balance: { told: right, accounted: right },
    })
    const rows = await database.rows('select book, num_hits, exceptions from window_books')
    expect(rows).toEqual([{ book: '1', num_hits: '12', exceptions: '5' }])
  })

  test.each([
    [11, 5],
    [13, 5],
    [12, 4],
    [12, 6],
  ])(
    'shows that %i announced hits and %i exceptions differ from 12 and 5 in Postgres',
    async (hits, exceptions) => {
      await record(0, T0, {}, 5)
      const told = { hits, exceptions }
      expect(await publish(12, [{ book: 1, ...told }])).toMatchObject({
        balance: { told, accounted: { hits: 12, exceptions: 5 } },
      })
    },
  )

  test('of a window without hits compares its exceptions', async () => {
    await record(0, T0, {}, 4)
    const right = { hits: 0, exceptions: 4 }
    expect(await publish(0, [{ book: 1, ...right }])).toMatchObject({
      written: false,
      balance: { told: right, accounted: right },
    })
    expect(await database.rows('select from window_results')).toEqual([])
  })

  test('includes what arrived after the window had closed, with the books of that time', async () => {
    await publish(12, [{ book: 1, hits: 12, exceptions: 0 }])
    const late = await close([delta(100, 3, 2)], [{ book: 2, hits: 3, exceptions: 2 }])
    const right = { hits: 15, exceptions: 2 }
    expect(late).toMatchObject({ lateHits: 3, balance: { told: right, accounted: right } })
    expect(await close([delta(100, 3, 2)], [{ book: 2, hits: 3, exceptions: 2 }])).toMatchObject({
      repeats: 1,
      balance: { told: right, accounted: right },
    })
    // Without books there is no balance.
    expect(await close([delta(100, 3, 2)])).not.toHaveProperty('balance')
  })

  test('does not change if a replay brings late events into the result', async () => {
    await publish(12, [{ book: 1, hits: 12, exceptions: 1 }])
    await record(500, T0 + WINDOW, { [T0]: 4 })
    await record(600, T0, { [T0 - WINDOW]: 1 })
    await close([delta(100, 3)], [{ book: 2, hits: 3, exceptions: 0 }])
    const right = { hits: 15, exceptions: 1 }
    expect(await balance()).toEqual({ told: right, accounted: right })
    const counter = new GroupCounter()
    counter.add(...GROUP(12))
    const replayed = await replayWindow(database.db, { start: T0, counter, includeLate: true })
    expect(replayed).toMatchObject({ outcome: 'replayed', hits: 19, broughtIn: 7 })
    expect(await balance()).toEqual({ told: right, accounted: right })
    // Later events are late as before.
    await close([delta(200, 2)], [{ book: 3, hits: 2, exceptions: 0 }])
    await record(700, T0 + WINDOW, { [T0]: 5 })
    expect(await balance()).toEqual({
      told: { hits: 17, exceptions: 1 },
      accounted: { hits: 17, exceptions: 1 },
    })
  })
})

describe('a closed window without hits has no row', () => {
  test('until late hits arrive: then it has a row with revision 0, and they are late', async () => {
    await publish(0, [{ book: 1, hits: 0, exceptions: 0 }])
    const outcome = await close([delta(100, 3)], [{ book: 2, hits: 3, exceptions: 0 }])
    const right = { hits: 3, exceptions: 0 }
    expect(outcome).toEqual({
      ...{ lateHits: 3, repeats: 0, overlaps: [] },
      balance: { told: right, accounted: right },
    })
    expect(
      await database.rows(
        `select window_end, status, num_hits::int as hits, late_hits::int as late, groups::int as groups, revision, partitions
         from traffic_windows`,
      ),
    ).toEqual([
      {
        ...{ window_end: new Date(T0 + WINDOW), status: 'closed', hits: 0, late: 3, groups: 0, revision: 0 },
        partitions: [{ partition: 0, from: 100, basis: T0, last: 109, counted: 99 }],
      },
    ])
    expect(await close([delta(100, 3)])).toEqual({ lateHits: 0, repeats: 1, overlaps: [] })
    expect(await balance()).toMatchObject({ accounted: right })
  })

  test('nor for exceptions, which are recorded once even if they are sent twice', async () => {
    const told = [{ book: 1, hits: 0, exceptions: 2 }]
    const right = { hits: 0, exceptions: 2 }
    for (let i = 0; i < 2; i++)
      expect(await close([delta(100, 0, 2)], told)).toEqual({
        ...{ lateHits: 0, repeats: 0, overlaps: [] },
        balance: { told: right, accounted: right },
      })
    expect(await database.rows('select from window_results')).toEqual([])
    expect(await database.rows('select reason, records from rejected_counts')).toEqual([
      { reason: 'invalid_json', records: '2' },
    ])
  })
})
