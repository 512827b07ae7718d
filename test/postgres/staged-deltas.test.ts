import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { AppliedPartition, Delta, StagedDeltas } from '../../src/core/window/protocol'
import { postgresFailure } from '../../src/postgres/failures'
import { findWindow } from '../../src/postgres/open-window'
import { publishWindow, type WindowResult } from '../../src/postgres/publish-window'
import { recordClosed } from '../../src/postgres/record-closed'
import { dropStagedRepeats, stageDelta, StagedDeltasMissingError } from '../../src/postgres/staged-deltas'
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
    `truncate window_results, aggregated_web_traffic, aggregated_web_traffic_by_country, late_deltas, staged_pieces,
      staged_deltas, exception_ranges`,
  )
})

const A: Group = ['a.example', '', 'DE', 2]
const B: Group = ['b.example', 'https://r.example/', 'FR', 3]
const NONE = { hosts: [], referrers: [], countries: [], rows: '' }

function delta(partition: number, first: number, last: number, ...groups: Group[]): Delta {
  const hits = groups.reduce((sum, [, , , hits]) => sum + hits, 0)
  return { partition, from: first, basis: T0, first, last, hits, ...columns(...groups) }
}

const stage = (one: Delta, start = T0) => stageDelta(database.db, start, one)

const staged = () =>
  database.rows<object>(
    `select extract(epoch from window_start)::float8 * 1000 as start, kafka_partition as partition,
      last_offset::int as last, num_hits::int as hits
     from staged_deltas order by 1, 2, 3`,
  )

const totals = async (start = T0) =>
  Object.fromEntries(
    (
      await database.rows<{ host: string; hits: number }>(
        `select host, sum(num_hits)::int as hits from aggregated_web_traffic where window_start = $1 group by 1`,
        [new Date(start)],
      )
    ).map(({ host, hits }) => [host, hits]),
  )

const applied = (...lasts: [partition: number, last: number][]): AppliedPartition[] =>
  lasts.map(([partition, last]) => ({ partition, from: 0, basis: null, last }))

/** A window's result with staged deltas and one inline group. */
function result(staged: StagedDeltas, fields: Partial<WindowResult> = {}): WindowResult {
  const inline = fields.counts ? 0 : 2
  return {
    start: T0,
    end: T0 + WINDOW,
    revision: 1,
    status: 'closed',
    maxGroups: 250_000,
    hits: staged.hits + inline,
    counts: columns(A),
    staged,
    applied: applied([0, 99], [1, 99]),
    ...fields,
  }
}

const publish = (window: WindowResult) => publishWindow(database.db, window)
const repair = 'Run "web-traffic repair 2026-01-01T12:00:00Z".'

describe('a staged delta', () => {
  test('travels without its counts, and with everything else', async () => {
    const exceptions = { records: 1, late: [], rejected: { invalid_json: 1 }, samples: [] }
    const large = { ...delta(0, 5, 9, A, B), unlocated: 1, exceptions }
    expect(await stage(large)).toEqual({ ...large, ...NONE, staged: true })
  })

  test('that is staged again with other counts keeps the first ones, and travels with their hits', async () => {
    const first = { ...delta(0, 5, 9, A, B), unlocated: 2 }
    await stage(first)
    const again = { ...delta(0, 7, 9, ['c.example', '', 'US', 1]), unlocated: 0 }
    expect(await stage(again)).toMatchObject({
      first: 5,
      last: 9,
      hits: 5,
      unlocated: 2,
      ...NONE,
      staged: true,
    })
    expect(await staged()).toEqual([{ start: T0, partition: 0, last: 9, hits: 5 }])
    await publish(result({ hits: 5, last: [[0, [9]]] }))
    expect(await totals()).toEqual({ 'a.example': 4, 'b.example': 3 })
  })

  test('that is staged concurrently is stored once, and each copy travels with the same hits', async () => {
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) => stage(delta(0, 5, 9, ['a.example', '', 'DE', i + 1]))),
    )
    expect(new Set(answers.map(({ hits }) => hits)).size).toBe(1)
    expect(await staged()).toEqual([{ start: T0, partition: 0, last: 9, hits: answers[0]!.hits }])
  })

  test('is identified by window, partition and last offset', async () => {
    await stage(delta(0, 0, 9, A))
    await stage(delta(0, 10, 19, A))
    await stage(delta(1, 0, 9, A))
    await stage(delta(0, 0, 9, A), T0 + WINDOW)
    await stage(delta(0, 0, 2 ** 53 - 1, A))
    const [row] = await database.rows(
      'select count(*)::int as count, max(last_offset) as last from staged_deltas',
    )
    expect(row).toEqual({ count: 5, last: '9007199254740991' })
  })
})

describe('a window with staged deltas', () => {
  const of: StagedDeltas = {
    hits: 10,
    last: [
      [0, [9, 19]],
      [1, [9]],
    ],
  }

  beforeEach(async () => {
    await stage(delta(0, 0, 9, A))
    await stage(delta(0, 10, 19, A, B))
    await stage(delta(1, 0, 9, B))
  })

  test('combines them with its own counts and its pieces', async () => {
    await database.pool.query('insert into staged_pieces values ($1, $2, 1, $3)', [
      new Date(T0),
      'chain',
      JSON.stringify([columns(['c.example', '', 'DE', 7])]),
    ])
    const pieces = { chain: 'chain', count: 1 }
    expect(await publish(result(of, { hits: 19, pieces, status: 'published' }))).toMatchObject({
      written: true,
      groups: 3,
    })
    expect(await totals()).toEqual({ 'a.example': 6, 'b.example': 6, 'c.example': 7 })
    // A correction needs them again.
    expect(await staged()).toHaveLength(3)
    await publish(result(of, { hits: 19, pieces, revision: 2 }))
    expect(await totals()).toEqual({ 'a.example': 6, 'b.example': 6, 'c.example': 7 })
    expect(await staged()).toEqual([])
    expect(await publish(result(of, { hits: 19, pieces, revision: 2 }))).toMatchObject({ written: false })
  })

  test('keeps at most maxGroups names', async () => {
    const published = await publish(result(of, { maxGroups: 1 }))
    expect(published).toMatchObject({ written: true, groups: 2 })
    expect(Object.values(await totals()).reduce((sum, hits) => sum + hits, 0)).toBe(12)
  })

  test.each([
    ['one of them is missing', `delete from staged_deltas where kafka_partition = 1`, '2 staged deltas'],
    [
      'one of them has other hits',
      `update staged_deltas set num_hits = 1 where kafka_partition = 1`,
      'with 8 hits',
    ],
    ['all are missing', 'delete from staged_deltas', '0 staged deltas of the window with 0 hits'],
  ])('is not published if %s: the error names the command that repairs it', async (_, damage, named) => {
    await database.pool.query(damage)
    const before = await database.contents()
    const error: unknown = await publish(result(of)).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(StagedDeltasMissingError)
    expect((error as Error).message).toContain(named)
    expect((error as Error).message).toContain(repair)
    expect(postgresFailure(error, database.postgres)).toEqual({
      permanent: true,
      message: (error as Error).message,
    })
    expect(await database.contents()).toEqual(before)
    expect(await findWindow(database.db, T0)).toBeUndefined()
  })

  test('keeps those beyond what it has applied, of other partitions and of other windows', async () => {
    await stage(delta(1, 10, 19, A))
    await stage(delta(2, 0, 9, A))
    await stage(delta(0, 0, 9, A), T0 + WINDOW)
    await publish(result(of, { applied: applied([0, 19], [1, 9]) }))
    expect(await staged()).toEqual([
      { start: T0, partition: 1, last: 19, hits: 2 },
      { start: T0, partition: 2, last: 9, hits: 2 },
      { start: T0 + WINDOW, partition: 0, last: 9, hits: 2 },
    ])
  })
})

describe('a staged delta that reaches a closed window', () => {
  const close = (...deltas: Delta[]) =>
    recordClosed(database.db, { start: T0, topic: 'events', windowSize: WINDOW, deltas })
  const late = () =>
    database.rows('select host, num_hits::int as hits, cause from late_web_traffic order by 1')

  beforeEach(async () => {
    await publish(result({ hits: 0, last: [] }, { applied: applied([0, 99]) }))
  })

  test('is late, with its counts from Postgres, where they are then only late', async () => {
    const sent = await stage(delta(0, 100, 109, A, B))
    expect(await close(sent)).toMatchObject({ lateHits: 5, repeats: 0 })
    const both = [
      { host: 'a.example', hits: 2, cause: 'closed' },
      { host: 'b.example', hits: 3, cause: 'closed' },
    ]
    expect(await late()).toEqual(both)
    expect(await staged()).toEqual([])
    expect(await close(sent)).toMatchObject({ lateHits: 0, repeats: 1 })
    expect(await late()).toEqual(both)
  })

  test('leaves others that are still on their way', async () => {
    const first = await stage(delta(0, 100, 109, A))
    await stage(delta(0, 110, 119, B))
    await close(first)
    expect(await staged()).toEqual([{ start: T0, partition: 0, last: 119, hits: 3 }])
  })

  test('and is missing in Postgres is not recorded: the error names the command that repairs it', async () => {
    const sent = await stage(delta(0, 100, 109, A))
    await database.pool.query('delete from staged_deltas')
    const before = await database.contents()
    const error: unknown = await close(delta(0, 100, 105, B), { ...sent, first: 106 }).catch(
      (error: unknown) => error,
    )
    expect(error).toBeInstanceOf(StagedDeltasMissingError)
    expect((error as Error).message).toContain('partition 0 that ends at offset 109')
    expect((error as Error).message).toContain(repair)
    expect(await database.contents()).toEqual(before)
  })
})

test('maintenance drops repeats staged after their window had closed, and nothing that may be on its way', async () => {
  await stage(delta(0, 0, 9, A))
  await publish(result({ hits: 2, last: [[0, [9]]] }, { applied: applied([0, 9], [1, 9]) }))
  await stage(delta(0, 0, 9, A))
  await stage(delta(1, 0, 5, A))
  await stage(delta(1, 6, 10, A))
  await stage(delta(2, 0, 1, A))
  const open = T0 + WINDOW
  await stage(delta(0, 0, 9, A), open)
  await publish({
    ...result({ hits: 2, last: [[0, [9]]] }),
    start: open,
    end: open + WINDOW,
    status: 'published',
  })
  await stage(delta(0, 0, 9, A), open + WINDOW)
  expect(await dropStagedRepeats(database.db)).toBe(2)
  expect(await staged()).toEqual([
    { start: T0, partition: 1, last: 10, hits: 2 },
    { start: T0, partition: 2, last: 1, hits: 2 },
    { start: open, partition: 0, last: 9, hits: 2 },
    { start: open + WINDOW, partition: 0, last: 9, hits: 2 },
  ])
  expect(await dropStagedRepeats(database.db)).toBe(0)
})
