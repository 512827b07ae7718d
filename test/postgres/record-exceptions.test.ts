import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { ClosedOutcome, Delta, RangeExceptions } from '../../src/core/window/protocol'
import { findWindow } from '../../src/postgres/open-window'
import { publishWindow } from '../../src/postgres/publish-window'
import { PiecesMissingError, stagePiece } from '../../src/postgres/staged-pieces'
import { recordClosed } from '../../src/postgres/record-closed'
import { recordExceptions } from '../../src/postgres/record-exceptions'
import { MAX_REJECTED_EVENTS } from '../../src/postgres/rejected'
import { columns, Gate, T0, TestDatabase, WINDOW, type Group } from './support'

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
      late_deltas, rejected_counts, rejected_events`,
  )
})

const TOPIC = 'events'
const W1 = T0 + WINDOW

function range(partition: number, from: number, more: Partial<RangeExceptions> = {}): RangeExceptions {
  return { partition, from, late: [], rejected: {}, samples: [], ...more }
}

const record = (exceptions: RangeExceptions) => recordExceptions(database.db, TOPIC, WINDOW, exceptions)

/** A range with some of everything. */
const MIXED = range(2, 100, {
  late: [
    { windowStart: T0, ...columns(['a.example', '', 'DE', 2], ['b.example', 'r', 'FR', 3]) },
    { windowStart: W1, ...columns(['a.example', '', 'DE', 4]) },
  ],
  rejected: { invalid_json: 2, missing_host: 1 },
  samples: [
    [101, 'invalid_json'],
    [105, 'missing_host'],
    [107, 'invalid_json'],
  ],
})

const counts = () =>
  database.rows<{ topic: string; partition: number; reason: string; records: number }>(
    `select topic, partition, reason, records::int as records from rejected_counts order by partition, reason`,
  )

const late = () =>
  database.rows(`
    select window_start, window_end, host, referrer, country, num_hits::int as num_hits, cause
    from late_web_traffic order by window_start, host, cause`)

async function expectMixedOnce(): Promise<void> {
  const [w0, w1, w2] = [T0, W1, W1 + WINDOW].map(time => new Date(time))
  const watermark = { cause: 'watermark' }
  expect(await late()).toEqual([
    {
      window_start: w0,
      window_end: w1,
      host: 'a.example',
      referrer: '',
      country: 'DE',
      num_hits: 2,
      ...watermark,
    },
    {
      window_start: w0,
      window_end: w1,
      host: 'b.example',
      referrer: 'r',
      country: 'FR',
      num_hits: 3,
      ...watermark,
    },
    {
      window_start: w1,
      window_end: w2,
      host: 'a.example',
      referrer: '',
      country: 'DE',
      num_hits: 4,
      ...watermark,
    },
  ])
  expect(await counts()).toEqual([
    { topic: TOPIC, partition: 2, reason: 'invalid_json', records: 2 },
    { topic: TOPIC, partition: 2, reason: 'missing_host', records: 1 },
  ])
  expect(
    await database.rows(
      `select topic, partition, kafka_offset::int as at, reason from rejected_events order by kafka_offset`,
    ),
  ).toEqual([
    { topic: TOPIC, partition: 2, at: 101, reason: 'invalid_json' },
    { topic: TOPIC, partition: 2, at: 105, reason: 'missing_host' },
    { topic: TOPIC, partition: 2, at: 107, reason: 'invalid_json' },
  ])
}

describe('the exceptions of a range are recorded once', () => {
  test('if they are repeated', async () => {
    expect(await record(MIXED)).toBe(true)
    await expectMixedOnce()
    const before = await database.contents()
    expect(await record(MIXED)).toBe(false)
    expect(await record({ ...MIXED, rejected: { null_value: 9 } })).toBe(false)
    expect(await database.contents()).toEqual(before)
  })

  test('by concurrent calls', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => record(MIXED)))
    expect(answers.filter(Boolean)).toHaveLength(1)
    await expectMixedOnce()
  })

  test('by a call that waits for another to finish', async () => {
    const gate = await Gate.close(database, 'rejected_events')
    try {
      const first = record(MIXED)
      await gate.awaitStopped()
      const second = record(MIXED)
      await gate.awaitBehind()
      await gate.open()
      expect(await Promise.all([first, second])).toEqual([true, false])
      await expectMixedOnce()
    } finally {
      await gate.remove()
    }
  })

  test.each(['exception_ranges', 'late_deltas', 'rejected_counts', 'rejected_events'])(
    'if the connection is lost after %s was written: nothing is left, and a retry records everything',
    async table => {
      const gate = await Gate.close(database, table)
      try {
        const cut = expect(record(MIXED)).rejects.toThrow(/terminat/)
        const [pid] = await gate.awaitStopped()
        await database.pool.query('select pg_terminate_backend($1)', [pid])
        await cut
        expect(Object.values(await database.contents()).flat()).toEqual([])
        await gate.open()
        expect(await record(MIXED)).toBe(true)
        await expectMixedOnce()
      } finally {
        await gate.remove()
      }
    },
  )

  test('another partition or another start is another range', async () => {
    const rejected = { invalid_json: 1 }
    for (const [partition, from] of [
      [0, 0],
      [0, 10],
      [1, 0],
      [1, 10],
    ] as const)
      expect(await record(range(partition, from, { rejected }))).toBe(true)
    expect(await counts()).toEqual([
      { topic: TOPIC, partition: 0, reason: 'invalid_json', records: 2 },
      { topic: TOPIC, partition: 1, reason: 'invalid_json', records: 2 },
    ])
  })

  test('a range without exceptions is entered too', async () => {
    expect(await record(range(0, 0))).toBe(true)
    expect(await record(range(0, 0))).toBe(false)
  })

  // As after a restore of Temporal or Postgres, when the log is read again from earlier positions.
  describe('if the log is cut into other ranges', () => {
    const cut = (from: number, to: number, more: Partial<RangeExceptions> = {}) =>
      range(0, from, { to, window: T0, rejected: { invalid_json: to - from }, ...more })
    const recorded = async () => (await counts()).map(({ records }) => records)

    test.each([
      ['from its start', [100, 150]],
      ['from within', [150, 200]],
      ['all of it', [100, 200]],
      ['from before it', [50, 101]],
      ['beyond it', [199, 300]],
      ['on both sides', [50, 300]],
    ] as const)('and one covers what is recorded, %s', async (_, [from, to]) => {
      expect(await record(cut(100, 200))).toBe(true)
      expect(await record(cut(from, to))).toBe(false)
      expect(await recorded()).toEqual([100])
    })

    test('but others of the partition and the window, and others around it, are recorded', async () => {
      for (const other of [
        cut(100, 200),
        cut(50, 100),
        cut(200, 300),
        cut(150, 250, { partition: 1 }),
        cut(150, 250, { window: W1 }),
      ])
        expect(await record(other)).toBe(true)
      expect(await recorded()).toEqual([350, 100])
    })

    test('at the same time', async () => {
      const cuts = Array.from({ length: 20 }, (_, i) => cut(100 + i, 150 + i))
      const answers = await Promise.all(cuts.map(record))
      expect(answers.filter(Boolean)).toHaveLength(1)
      expect(await recorded()).toEqual([50])
    })
  })

  test('offsets beyond 32 bits are exact', async () => {
    const offset = 2 ** 53 - 1
    await record(range(0, offset, { rejected: { x: 1 }, samples: [[offset, 'x']] }))
    expect(await record(range(0, offset))).toBe(false)
    expect(await database.rows('select kafka_offset from rejected_events')).toEqual([
      { kafka_offset: '9007199254740991' },
    ])
  })

  test('the strings of late events arrive byte for byte', async () => {
    const referrers = ['', 'NULL', '{a,"b"}', `\\"'`, '\uFFFD', 'e\u0301', '\u{1F600}'.repeat(2_048)]
    const groups = referrers.map((referrer): Group => ['a.example', referrer, 'DE', 1])
    await record(range(0, 0, { late: [{ windowStart: T0, ...columns(...groups) }] }))
    const rows = await database.rows<{ bytes: Buffer }>(
      `select convert_to(referrer, 'UTF8') as bytes from late_web_traffic`,
    )
    const hex = (bytes: Buffer) => bytes.toString('hex')
    expect(rows.map(({ bytes }) => hex(bytes)).sort()).toEqual(referrers.map(r => hex(Buffer.from(r))).sort())
  })
})

describe('the exceptions of a range that travelled to several windows', () => {
  const to = (window: number | undefined, records: number) =>
    range(0, 10, { ...(window !== undefined && { window }), rejected: { invalid_json: records } })
  const rejected = async () => (await counts()).map(({ records }) => records)

  test('are recorded for each of them, once', async () => {
    for (const answer of [true, false]) {
      expect(await record(to(T0, 2))).toBe(answer)
      expect(await record(to(W1, 3))).toBe(answer)
    }
    expect(await rejected()).toEqual([5])
    expect(
      await database.rows(
        `select kafka_partition, range_from, window_start, records::int as records, rejected from exception_ranges
         order by window_start`,
      ),
    ).toEqual(
      [
        [T0, 2],
        [W1, 3],
      ].map(([window, records]) => ({
        ...{ kafka_partition: 0, range_from: '10', window_start: new Date(window!), records },
        rejected: { invalid_json: records },
      })),
    )
  })

  test('are not recorded again if an older release has recorded the range', async () => {
    // As that release recorded it.
    await database.pool.query('insert into exception_ranges (kafka_partition, range_from) values (0, 10)')
    expect(await record(to(T0, 2))).toBe(false)
    expect(await record(to(W1, 3))).toBe(false)
    expect(await record(to(undefined, 5))).toBe(false)
    expect(await rejected()).toEqual([])
    expect(await record({ ...to(T0, 2), from: 11 })).toBe(true)
    expect(await record({ ...to(T0, 2), partition: 1 })).toBe(true)
  })

  test('sent by an older release are recorded by their range alone', async () => {
    expect(await record(to(undefined, 5))).toBe(true)
    expect(await record(to(undefined, 5))).toBe(false)
    expect(await record(to(T0, 5))).toBe(false)
    expect(await rejected()).toEqual([5])
  })

  test('record the window in which late events were read, and the number of records', async () => {
    const late = { windowStart: T0, ...columns(['a.example', '', 'DE', 4], ['b.example', '', 'DE', 1]) }
    await record(range(0, 10, { window: W1, late: [late], rejected: { null_value: 2 } }))
    await record(range(0, 20, { late: [late] }))
    const read = await database.rows(
      'select distinct range_from::int as from, read_in from late_deltas order by 1',
    )
    expect(read).toEqual([
      { from: 10, read_in: new Date(W1) },
      { from: 20, read_in: null },
    ])
    const records = await database.rows(
      'select range_from::int as from, records::int as records from exception_ranges order by 1',
    )
    expect(records).toEqual([
      { from: 10, records: 7 },
      { from: 20, records: 5 },
    ])
  })
})

describe('concurrent ranges of one partition, with their reasons in either order', () => {
  const ranges = [
    range(0, 0, { rejected: { invalid_json: 1, null_value: 1 } }),
    range(0, 10, { rejected: { null_value: 1, invalid_json: 1 } }),
  ]

  /** Records both. Neither continues before both have started and, if possible, counted their first reason. */
  async function recordAtOnce(): Promise<PromiseSettledResult<boolean>[]> {
    const gate = await Gate.close(database, 'rejected_counts')
    try {
      const answers = Promise.allSettled(ranges.map(record))
      await gate.awaitHeld(2)
      await gate.open()
      return await answers
    } finally {
      await gate.remove()
    }
  }

  test('do not deadlock', async () => {
    expect(await recordAtOnce()).toEqual(Array(2).fill({ status: 'fulfilled', value: true }))
  })

  test('are each counted once, after a retry of those that failed', async () => {
    await recordAtOnce()
    await Promise.all(ranges.map(record))
    expect(await counts()).toEqual([
      { topic: TOPIC, partition: 0, reason: 'invalid_json', records: 2 },
      { topic: TOPIC, partition: 0, reason: 'null_value', records: 2 },
    ])
  })
})

describe('a flood of rejected records', () => {
  const RANGES = 200
  const RECORDS = 1_000

  /** Two partitions. Of each thousand records, 900 are rejected for one reason and 100 for another. */
  const flood = Array.from({ length: RANGES }, (_, i) => {
    const from = (i >> 1) * RECORDS
    const samples = Array.from({ length: RECORDS }, (_, at): [number, string] => [
      from + at,
      at % 10 === 0 ? 'missing_host' : 'invalid_json',
    ])
    return range(i % 2, from, { rejected: { invalid_json: 900, missing_host: 100 }, samples })
  })

  test('is counted exactly, and the newest of each partition and reason keep a row', async () => {
    // Concurrent and out of order, as after Postgres was down.
    const shuffled = flood.map((_, i) => flood[(i * 77) % RANGES]!)
    for (let i = 0; i < RANGES; i += 8) await Promise.all(shuffled.slice(i, i + 8).map(record))
    await Promise.all(flood.slice(0, 8).map(record))

    expect(await counts()).toEqual(
      [0, 1].flatMap(partition => [
        { topic: TOPIC, partition, reason: 'invalid_json', records: 90_000 },
        { topic: TOPIC, partition, reason: 'missing_host', records: 10_000 },
      ]),
    )
    const named = await database.rows<{ partition: number; reason: string; offsets: string[] }>(`
      select partition, reason, array_agg(kafka_offset order by kafka_offset) as offsets
      from rejected_events group by partition, reason order by partition, reason`)
    const all = Array.from({ length: 100 * RECORDS }, (_, offset) => offset)
    const newest = (wanted: boolean) =>
      all.filter(offset => (offset % 10 === 0) === wanted).slice(-MAX_REJECTED_EVENTS)
    expect(MAX_REJECTED_EVENTS).toBe(10_000)
    expect(named.map(({ partition, reason, offsets }) => [partition, reason, offsets.length])).toEqual([
      [0, 'invalid_json', 10_000],
      [0, 'missing_host', 10_000],
      [1, 'invalid_json', 10_000],
      [1, 'missing_host', 10_000],
    ])
    for (const { reason, offsets } of named)
      expect(offsets.map(Number)).toEqual(newest(reason === 'missing_host'))
  })
})

describe('deltas that reach a closed window', () => {
  beforeEach(async () => {
    await publishWindow(database.db, {
      start: T0,
      end: W1,
      revision: 1,
      status: 'closed',
      maxGroups: 250_000,
      hits: 5,
      counts: columns(['a.example', '', 'DE', 5]),
      applied: [{ partition: 0, from: 0, basis: null, last: 99 }],
    })
  })

  function delta(partition: number, first: number, last: number, hits = 1): Delta {
    const counted = columns(['a.example', '', 'DE', hits])
    return { partition, from: first, basis: T0, first, last, hits, ...counted }
  }

  const outcome = (fields: Partial<ClosedOutcome>): ClosedOutcome => ({
    lateHits: 0,
    repeats: 0,
    overlaps: [],
    ...fields,
  })

  const close = (...deltas: Delta[]) =>
    recordClosed(database.db, { start: T0, topic: TOPIC, windowSize: WINDOW, deltas })

  const lateHits = async () => {
    const [row] = await database.rows<{ late_hits: string; num_hits: string; revision: number }>(
      'select late_hits, num_hits, revision from traffic_windows',
    )
    return row
  }

  test('are late with cause closed, and do not change the result', async () => {
    expect(await close(delta(0, 100, 120, 7), delta(1, 3, 4, 2))).toEqual(outcome({ lateHits: 9 }))
    const row = { window_start: new Date(T0), window_end: new Date(W1), host: 'a.example', referrer: '' }
    expect(await late()).toEqual([{ ...row, country: 'DE', num_hits: 9, cause: 'closed' }])
    expect(await lateHits()).toEqual({ late_hits: '9', num_hits: '5', revision: 1 })
    expect(await findWindow(database.db, T0)).toEqual({
      revision: 1,
      status: 'closed',
      applied: [
        { partition: 0, from: 0, basis: null, last: 120, counted: 99 },
        { partition: 1, from: 3, basis: T0, last: 4, counted: 2 },
      ],
    })
    // Later deltas do not change what counts as a hit.
    await close(delta(0, 121, 130, 1), delta(1, 5, 6, 1))
    expect((await findWindow(database.db, T0))?.applied).toMatchObject([
      { last: 130, counted: 99 },
      { last: 6, counted: 2 },
    ])
  })

  test('are repeats up to the last offset applied, before the window closed or after', async () => {
    await close(delta(0, 100, 120), delta(1, 3, 4))
    const before = await database.contents()
    expect(await close(delta(0, 90, 99))).toEqual(outcome({ repeats: 1 }))
    expect(await close(delta(0, 100, 120), delta(1, 3, 4))).toEqual(outcome({ repeats: 2 }))
    expect(await close(delta(0, 50, 120))).toEqual(outcome({ repeats: 1 }))
    expect(await database.contents()).toEqual(before)
  })

  test('are recognised as repeats within one call', async () => {
    expect(await close(delta(0, 100, 120), delta(0, 100, 120), delta(0, 121, 130))).toEqual(
      outcome({ lateHits: 2, repeats: 1 }),
    )
    expect(await lateHits()).toMatchObject({ late_hits: '2' })
  })

  test('that were staged as pieces are recorded once, and a repeat does not wait for the pieces', async () => {
    const pieces = { chain: 'first-run', count: 2 }
    const closeAll = () =>
      recordClosed(database.db, {
        start: T0,
        topic: TOPIC,
        windowSize: WINDOW,
        deltas: [delta(0, 130, 140)],
        pieces,
      })
    const key = { start: T0, chain: pieces.chain }
    await stagePiece(database.db, key, 2, [delta(0, 110, 120, 2)])
    await expect(closeAll()).rejects.toThrow(PiecesMissingError)
    await stagePiece(database.db, key, 1, [delta(0, 90, 99), delta(0, 100, 105, 4)])
    expect(await closeAll()).toEqual(outcome({ lateHits: 7, repeats: 1 }))
    const before = await database.contents()
    expect(await closeAll()).toEqual(outcome({ repeats: 1 }))
    // Staging a piece again does not bring it back.
    await stagePiece(database.db, key, 1, [delta(0, 90, 99), delta(0, 100, 105, 4)])
    expect(await database.contents()).toEqual(before)
    expect(await lateHits()).toMatchObject({ late_hits: '7' })
  })

  test('are reported and not counted if they overlap what was applied', async () => {
    const before = await database.contents()
    const overlaps = [{ partition: 0, first: 99, last: 100 }]
    expect(await close(delta(0, 99, 100))).toEqual(outcome({ overlaps }))
    expect(await database.contents()).toEqual(before)
    const both = await close(delta(0, 99, 100), delta(0, 100, 101))
    expect(both).toEqual(outcome({ lateHits: 1, overlaps }))
    expect(await lateHits()).toMatchObject({ late_hits: '1' })
  })

  test('are recorded once by concurrent calls', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => close(delta(0, 100, 120, 7))))
    expect(answers.filter(({ lateHits }) => lateHits > 0)).toEqual([outcome({ lateHits: 7 })])
    expect(await lateHits()).toMatchObject({ late_hits: '7' })
  })

  test('of several partitions are all recorded by concurrent calls, which wait for each other', async () => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => close(delta(i + 1, 0, 9))))
    expect(await lateHits()).toMatchObject({ late_hits: '20' })
    expect((await findWindow(database.db, T0))!.applied).toHaveLength(21)
  })

  test('wait for a call that has not finished, and then see what it applied', async () => {
    const gate = await Gate.close(database, 'late_deltas')
    try {
      const first = close(delta(0, 100, 120))
      await gate.awaitStopped()
      const second = close(delta(0, 100, 120), delta(0, 121, 130))
      await gate.awaitBehind()
      await gate.open()
      expect(await first).toEqual(outcome({ lateHits: 1 }))
      expect(await second).toEqual(outcome({ lateHits: 1, repeats: 1 }))
    } finally {
      await gate.remove()
    }
  })

  test.each([
    ['late_deltas', 'insert'],
    ['window_results', 'update'],
  ])('leave nothing if the connection is lost after %s was written', async (table, event) => {
    const before = await database.contents()
    const gate = await Gate.close(database, table, event)
    try {
      const cut = expect(close(delta(0, 100, 120))).rejects.toThrow(/terminat/)
      const [pid] = await gate.awaitStopped()
      await database.pool.query('select pg_terminate_backend($1)', [pid])
      await cut
      expect(await database.contents()).toEqual(before)
      await gate.open()
      expect(await close(delta(0, 100, 120))).toEqual(outcome({ lateHits: 1 }))
    } finally {
      await gate.remove()
    }
  })

  test('have their exceptions recorded once for the window, unless the poller has recorded them', async () => {
    const exceptions = {
      records: 3,
      late: [{ windowStart: T0 - WINDOW, ...columns(['old.example', '', 'DE', 1]) }],
      rejected: { invalid_json: 2 },
      samples: [[101, 'invalid_json']] as [number, string][],
    }
    const recorded = { records: 9, recorded: true as const, late: [], rejected: {}, samples: [] }
    const deltas = [
      { ...delta(0, 100, 120, 7), exceptions },
      { ...delta(0, 121, 130, 1), exceptions: recorded },
    ]
    expect(await close(...deltas)).toEqual(outcome({ lateHits: 8 }))
    expect(await close(...deltas)).toEqual(outcome({ repeats: 2 }))
    expect(await counts()).toEqual([{ topic: TOPIC, partition: 0, reason: 'invalid_json', records: 2 }])
    expect(await late()).toMatchObject([
      { window_start: new Date(T0 - WINDOW), host: 'old.example', num_hits: 1, cause: 'watermark' },
      { window_start: new Date(T0), host: 'a.example', num_hits: 8, cause: 'closed' },
    ])
    const ranges = await database.rows(
      `select range_from::int as from, range_to::int as to, window_start, records::int as records
       from exception_ranges`,
    )
    expect(ranges).toEqual([{ from: 100, to: 121, window_start: new Date(T0), records: 3 }])
    expect(await database.rows('select kafka_offset::int as at from rejected_events')).toEqual([{ at: 101 }])
  })

  test('with exceptions that the window recorded before it closed add nothing', async () => {
    const exceptions = { records: 2, late: [], rejected: { invalid_json: 2 }, samples: [] }
    await record(range(0, 100, { window: T0, ...exceptions }))
    expect(await close({ ...delta(0, 100, 120, 7), exceptions })).toEqual(outcome({ lateHits: 7 }))
    expect(await counts()).toEqual([{ topic: TOPIC, partition: 0, reason: 'invalid_json', records: 2 }])
  })

  test('and late events by the watermark are both in late_hits of their own window', async () => {
    await record(MIXED)
    await close(delta(0, 100, 120, 7))
    expect(await lateHits()).toMatchObject({ late_hits: '12', num_hits: '5' })
    const sums = await database.rows(
      `select cause, sum(num_hits)::int as hits from late_web_traffic where window_start = $1 group by 1 order by 1`,
      [new Date(T0)],
    )
    expect(sums).toEqual([
      { cause: 'closed', hits: 7 },
      { cause: 'watermark', hits: 5 },
    ])
  })
})
