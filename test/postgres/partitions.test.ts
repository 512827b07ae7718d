import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Migrator, sql } from 'kysely'
import type { PoolClient } from 'pg'
import { readOnly } from '../../src/dashboard/read-only'
import { timeline } from '../../src/dashboard/traffic'
import { closedWindows, selectClosedWindows } from '../../src/postgres/closed-windows'
import { openDatabase, type Db } from '../../src/postgres/database'
import { postgresFailure } from '../../src/postgres/failures'
import { maintain } from '../../src/postgres/maintain'
import { migrate } from '../../src/postgres/migrate'
import { migrations } from '../../src/postgres/migrations'
import { findWindow } from '../../src/postgres/open-window'
import { partitionedMonths } from '../../src/postgres/partitions'
import { publishWindow } from '../../src/postgres/publish-window'
import { recordExceptions } from '../../src/postgres/record-exceptions'
import { storedTotals } from '../../src/postgres/totals'
import { columns, TestDatabase, WINDOW } from './support'

const DAY = 86_400_000
const NOW = Date.UTC(2026, 5, 15, 12)
const month = (n: number, year = 2026) => Date.UTC(year, n - 1)

let database: TestDatabase

beforeEach(async () => {
  database = await TestDatabase.migrated()
})
afterEach(() => database.drop())

const publish = (start: number, hits = 3, db: Db = database.db) =>
  publishWindow(db, {
    start,
    end: start + WINDOW,
    revision: 1,
    status: 'closed',
    hits,
    counts: columns(['a.example', '', 'DE', hits]),
    applied: [{ partition: 0, from: 0, basis: null, last: 7 }],
    maxGroups: 10,
  })

const late = (start: number, from: number, hits: number) =>
  recordExceptions(database.db, 'topic', WINDOW, {
    partition: 0,
    from,
    late: [{ windowStart: start, ...columns(['a.example', '', 'DE', hits]) }],
    rejected: {},
    samples: [],
  })

const rows = (statement: string, parameters: unknown[] = []) =>
  database.rows<Record<string, unknown>>(statement, parameters)

const hitsByMonth = (table = 'aggregated_web_traffic') =>
  rows(`select to_char(window_start at time zone 'UTC', 'YYYY-MM') as month, sum(num_hits)::int as hits
    from ${table} group by 1 order by 1`)

describe('a partition for every window', () => {
  test('exists when the window is written, at any age, and covers its month', async () => {
    const starts = [0, month(3, 1999) - WINDOW, month(3, 1999), month(2), month(3) - WINDOW, month(1, 12_026)]
    for (const start of starts) await publish(start)
    const found = await rows(
      `select tableoid::regclass::text as partition, window_start from aggregated_web_traffic order by 2`,
    )
    expect(found).toEqual(
      ['1970_01', '1999_02', '1999_03', '2026_02', '2026_02', '12026_01'].map((suffix, n) => ({
        partition: `aggregated_web_traffic_${suffix}`,
        window_start: new Date(starts[n]!),
      })),
    )
    expect(await partitionedMonths(database.db)).toEqual([
      0,
      month(2, 1999),
      month(3, 1999),
      month(2),
      month(1, 12_026),
    ])
  })

  test('is created once if the first windows of several months are written concurrently', async () => {
    const starts = Array.from({ length: 24 }, (_, n) => month(1 + (n % 4)) + Math.floor(n / 4) * WINDOW)
    await Promise.all(starts.map(start => publish(start)))
    expect(await hitsByMonth()).toEqual(
      ['2026-01', '2026-02', '2026-03', '2026-04'].map(month => ({ month, hits: 18 })),
    )
  })

  test('is created without waiting for readers', async () => {
    await publish(month(1))
    const reader = await database.pool.connect()
    try {
      await reader.query('begin; select * from aggregated_web_traffic; select * from traffic_rollups')
      await publish(month(2))
    } finally {
      await reader.query('rollback')
      reader.release()
    }
    expect(await hitsByMonth()).toHaveLength(2)
  })

  test('is created for a role that may write but owns nothing', async () => {
    const role = `writer_${randomUUID().slice(0, 8)}`
    await rows(`create role ${role} login password 'secret'`)
    await rows(`grant select, insert, update, delete on all tables in schema public to ${role}`)
    const db = openDatabase({ ...database.postgres, user: role, password: 'secret' }, 1)
    try {
      await expect(publish(month(1), 3, db)).rejects.toThrow(
        'permission denied for function create_partitions',
      )
      await rows(`grant execute on function create_partitions(timestamptz) to ${role}`)
      await publish(month(1), 3, db)
      await publish(month(2), 4, db)
      expect(await hitsByMonth()).toHaveLength(2)
      // The role may not drop partitions.
      await expect(sql`select drop_partitions(now())`.execute(db)).rejects.toThrow('permission denied')
    } finally {
      await db.destroy()
      await rows(`drop owned by ${role}`)
      await rows(`drop role ${role}`)
    }
  })

  test('is created ahead, for this month and the next', async () => {
    const december = Date.UTC(2026, 11, 31, 23)
    await maintain(database.db, { now: december, retention: undefined }, () => undefined)
    expect(await partitionedMonths(database.db)).toEqual([month(12), month(1, 2027)])
  })
})

describe('rows from before the tables were partitioned', () => {
  const migrator = () =>
    new Migrator({ db: database.db, provider: { getMigrations: () => Promise.resolve(migrations) } })

  const insert = (
    n: number,
    at = month(1 + (n % 3)) + n * DAY,
    to: Pick<PoolClient, 'query'> = database.pool,
  ) =>
    to.query(
      `with country as (insert into aggregated_web_traffic_by_country (window_start, window_end, host, referrer,
          country, num_hits) values ($1, $2, $3, '', $4, $5) returning *)
        insert into aggregated_web_traffic (window_start, window_end, host, referrer, num_hits)
        select window_start, window_end, host, referrer, num_hits from country`,
      [new Date(at), new Date(at + WINDOW), `host-${n % 2}.example`, ['DE', 'FR'][n % 2], 1 + n],
    )

  /** Writes a window's row before its counts, like the product. */
  const publishAsBefore = async (n: number, at: number) => {
    const writer = await database.pool.connect()
    try {
      await writer.query('begin')
      await writer.query(
        `insert into window_results values ($1, $1, 'closed', 0, 0, 1, now(), '[]') on conflict do nothing`,
        [new Date(at)],
      )
      await writer.query('select from window_results where window_start = $1 for update', [new Date(at)])
      await insert(n, at, writer)
      await writer.query('commit')
    } finally {
      writer.release()
    }
  }

  const contents = async () => [
    await rows('select * from aggregated_web_traffic order by 1, 2, 3, 4, 5'),
    await rows('select * from aggregated_web_traffic_by_country order by 1, 2, 3, 4, 5, 6'),
  ]

  test('keep their month and their totals, also when the migration is undone', async () => {
    expect((await migrator().migrateTo('0002-replay')).error).toBeUndefined()
    for (let n = 0; n < 9; n++) await insert(n)
    const before = await contents()
    await migrate(database.db)
    expect(await contents()).toEqual(before)
    expect(await partitionedMonths(database.db)).toEqual([month(1), month(2), month(3)])
    for (const [dimension, table] of [
      ['host', 'aggregated_web_traffic'],
      ['country', 'aggregated_web_traffic_by_country'],
    ])
      expect(
        await rows(
          `select period_start, name, num_hits from traffic_rollups where dimension = $1 order by 1, 2`,
          [dimension],
        ),
      ).toEqual(
        await rows(`select window_start as period_start, ${dimension} as name, sum(num_hits)::bigint as num_hits
          from ${table} group by 1, 2 order by 1, 2`),
      )
    expect((await migrator().migrateTo('0002-replay')).error).toBeUndefined()
    expect(await contents()).toEqual(before)
  })

  test('are moved while others write, who wait and lose nothing', async () => {
    await migrator().migrateTo('0002-replay')
    for (let n = 0; n < 3; n++) await insert(n)
    let ended = false
    let written = 3
    const writing = (async () => {
      for (; !ended || written < 20; written++) await publishAsBefore(written, month(1 + (written % 3)) + DAY)
    })()
    await migrate(database.db)
    ended = true
    await writing
    const [{ hits }] = (await rows('select sum(num_hits)::int as hits from aggregated_web_traffic')) as [
      { hits: number },
    ]
    expect(hits).toBe((written * (written + 1)) / 2)
    const [totals] = await rows(
      `select sum(num_hits)::int as hits from traffic_rollups where dimension = 'country' and period = 'window'`,
    )
    expect(totals).toEqual({ hits })
  })
})

describe('retention', () => {
  const RETENTION = 60 * DAY
  /** The month that contains the day 60 days ago is kept in full. */
  const KEPT_FROM = month(4)
  const old = [month(1) + DAY, month(3) + 30 * DAY]
  const kept = [month(4) + DAY, month(6) + DAY]

  beforeEach(async () => {
    for (const start of [...old, ...kept]) await publish(start)
    await late(old[0]!, 100, 5)
    await late(kept[0]!, 200, 7)
    await rows(`update window_results set closed_at = closed_at - interval '1 hour'`)
  })

  const tidy = (retention: number | undefined = RETENTION) =>
    maintain(database.db, { now: NOW, retention }, () => undefined)

  test('drops whole months and their late events, and still accounts for every record', async () => {
    const before = await storedTotals(database.db)
    expect(before).toEqual({ hits: 12, late: 12, rejected: 0, records: 24, windows: 4 })
    expect(await tidy()).toMatchObject({ months: [month(1), month(3)], lateHits: 5 })
    for (const table of ['aggregated_web_traffic', 'aggregated_web_traffic_by_country'])
      expect(await hitsByMonth(table)).toEqual([
        { month: '2026-04', hits: 3 },
        { month: '2026-06', hits: 3 },
      ])
    expect(await hitsByMonth('late_web_traffic')).toEqual([{ month: '2026-04', hits: 7 }])
    expect(
      await rows('select * from traffic_rollups where period_start < $1', [new Date(KEPT_FROM)]),
    ).toEqual([])
    expect(await rows('select * from sealed_periods where period_start < $1', [new Date(KEPT_FROM)])).toEqual(
      [],
    )
    expect(await storedTotals(database.db)).toEqual(before)
    expect(await tidy()).toMatchObject({ months: [], lateHits: 0 })
  })

  test('that is unset keeps everything', async () => {
    expect(await maintain(database.db, { now: NOW, retention: undefined }, () => undefined)).toMatchObject({
      months: [],
      lateHits: 0,
    })
    expect(await hitsByMonth()).toHaveLength(4)
    expect(await rows('select * from past_retention')).toEqual([])
  })

  test('keeps the rows that recognise repeats: a dropped window still counts as closed', async () => {
    const applied = [{ partition: 0, from: 0, basis: null, last: 7 }]
    await tidy()
    expect(await findWindow(database.db, old[0]!)).toEqual({ revision: 1, applied, status: 'closed' })
    expect(await publish(old[0]!)).toMatchObject({ written: false })
    expect(
      await rows('select 1 from aggregated_web_traffic where window_start < $1', [new Date(KEPT_FROM)]),
    ).toEqual([])
    expect(await late(old[0]!, 100, 5)).toBe(false)
  })

  test('leaves nothing to verify or replay, and the dashboard starts where the counts do', async () => {
    await tidy()
    expect((await selectClosedWindows(database.db, {}, 10)).map(({ start }) => start)).toEqual(kept)
    expect(await closedWindows(database.db, kept)).toHaveLength(2)
    const { range, hits } = await readOnly(database.db, timeline({ range: { name: 'all' } }))
    expect(range!.from).toBeGreaterThanOrEqual(KEPT_FROM - range!.bucket)
    expect(hits).toBe(6)
  })

  test('also drops history that is loaded later, at the next run', async () => {
    await tidy()
    await publish(month(1) + 2 * DAY)
    expect(await hitsByMonth()).toHaveLength(3)
    expect(await tidy()).toMatchObject({ months: [month(1)] })
    expect((await storedTotals(database.db)).records).toBe(27)
  })

  test('does not make writers queue behind a long read: it fails as transient and is retried', async () => {
    const reader = await database.pool.connect()
    try {
      await reader.query('begin; select * from aggregated_web_traffic')
      const failure = await tidy().catch((error: unknown) => error)
      expect(postgresFailure(failure, database.postgres)).toMatchObject({ permanent: false })
      await publish(kept[0]! + WINDOW)
    } finally {
      await reader.query('rollback')
      reader.release()
    }
    expect(await tidy()).toMatchObject({ months: [month(1), month(3)] })
  })
})
