import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { ColumnarCounts } from '../../src/core/counts/columnar'
import { findWindow } from '../../src/postgres/open-window'
import { publishWindow, type WindowResult } from '../../src/postgres/publish-window'
import { PiecesMissingError, stagePiece } from '../../src/postgres/staged-pieces'
import { columns, Gate, measured, T0, TestDatabase, WINDOW, type Group } from './support'

let database: TestDatabase

beforeAll(async () => {
  database = await TestDatabase.migrated()
})

afterAll(async () => {
  await database.drop()
})

beforeEach(async () => {
  await database.pool.query(
    'truncate window_results, aggregated_web_traffic, aggregated_web_traffic_by_country, late_deltas, staged_pieces',
  )
})

const FIRST: Group[] = [
  ['a.example', 'https://r.example/', 'DE', 3],
  ['a.example', 'https://r.example/', 'FR', 4],
  ['a.example', '', '??', 1],
  ['b.example', 'https://r.example/', 'DE', 2],
]
const SECOND: Group[] = [
  ['a.example', 'https://r.example/', 'FR', 5],
  ['c.example', 'https://s.example/', 'US', 7],
]

function result(revision: number, groups: Group[], start = T0): WindowResult {
  return {
    start,
    end: start + WINDOW,
    revision,
    status: 'closed',
    maxGroups: 250_000,
    hits: groups.reduce((sum, [, , , hits]) => sum + hits, 0),
    counts: columns(...groups),
    applied: [{ partition: 0, from: 10 * revision, basis: null, last: 10 * revision + 9 }],
  }
}

/** A published result, which may still be corrected. */
const correctable = (revision: number, groups: Group[], start = T0): WindowResult => ({
  ...result(revision, groups, start),
  status: 'published',
})

const publish = (window: WindowResult) => publishWindow(database.db, window)

interface Row {
  host: string
  referrer: string
  country?: string
  num_hits: string
}

/** The results and the list of windows, as a reader sees them. */
async function seen(start = T0) {
  const at = [new Date(start)]
  const [windows, totals, byCountry] = await Promise.all([
    database.rows<{ revision: number; num_hits: string; groups: string; status: string }>(
      'select revision, num_hits, groups, status from traffic_windows where window_start = $1',
      at,
    ),
    database.rows<Row>(
      'select host, referrer, num_hits from aggregated_web_traffic where window_start = $1 order by 1, 2',
      at,
    ),
    database.rows<Row>(
      `select host, referrer, country, num_hits from aggregated_web_traffic_by_country
       where window_start = $1 order by 1, 2, 3`,
      at,
    ),
  ])
  return { windows, totals, byCountry }
}

const NOTHING = { windows: [], totals: [], byCountry: [] }

const SEEN_FIRST = {
  windows: [{ revision: 1, num_hits: '10', groups: '4', status: 'closed' }],
  totals: [
    { host: 'a.example', referrer: '', num_hits: '1' },
    { host: 'a.example', referrer: 'https://r.example/', num_hits: '7' },
    { host: 'b.example', referrer: 'https://r.example/', num_hits: '2' },
  ],
  byCountry: [
    { host: 'a.example', referrer: '', country: '??', num_hits: '1' },
    { host: 'a.example', referrer: 'https://r.example/', country: 'DE', num_hits: '3' },
    { host: 'a.example', referrer: 'https://r.example/', country: 'FR', num_hits: '4' },
    { host: 'b.example', referrer: 'https://r.example/', country: 'DE', num_hits: '2' },
  ],
}

const SEEN_CORRECTABLE = { ...SEEN_FIRST, windows: [{ ...SEEN_FIRST.windows[0], status: 'published' }] }

const SEEN_SECOND = {
  windows: [{ revision: 2, num_hits: '12', groups: '2', status: 'closed' }],
  totals: [
    { host: 'a.example', referrer: 'https://r.example/', num_hits: '5' },
    { host: 'c.example', referrer: 'https://s.example/', num_hits: '7' },
  ],
  byCountry: [
    { host: 'a.example', referrer: 'https://r.example/', country: 'FR', num_hits: '5' },
    { host: 'c.example', referrer: 'https://s.example/', country: 'US', num_hits: '7' },
  ],
}

/** Every statement that writes. Each is tried with a concurrent reader, and with a lost connection. */
const STEPS = [
  ['the row of the window', 'window_results', 'insert'],
  ['the counts by country', 'aggregated_web_traffic_by_country', 'insert'],
  ['the totals', 'aggregated_web_traffic', 'insert'],
  ['the revision', 'window_results', 'update'],
] as const

describe('a window appears in full or not at all', () => {
  test.each(STEPS)('to a reader who arrives after %s was written', async (_, table, event) => {
    const gate = await Gate.close(database, table, event)
    try {
      const published = publish(result(1, FIRST))
      await gate.awaitStopped()
      expect(await seen()).toEqual(NOTHING)
      expect(await findWindow(database.db, T0)).toBeUndefined()
      await gate.open()
      expect(await published).toEqual({ written: true, groups: 4, otherHits: 0 })
      expect(await seen()).toEqual(SEEN_FIRST)
    } finally {
      await gate.remove()
    }
  })

  test.each(STEPS)(
    'if the connection is lost after %s was written; a retry completes it',
    async (...step) => {
      const [, table, event] = step
      const gate = await Gate.close(database, table, event)
      try {
        const published = publish(result(1, FIRST))
        const cut = expect(published).rejects.toThrow(/terminat/)
        const [pid] = await gate.awaitStopped()
        await database.pool.query('select pg_terminate_backend($1)', [pid])
        await cut
        expect(await seen()).toEqual(NOTHING)
        await gate.open()
        expect(await publish(result(1, FIRST))).toEqual({ written: true, groups: 4, otherHits: 0 })
        expect(await seen()).toEqual(SEEN_FIRST)
      } finally {
        await gate.remove()
      }
    },
  )

  test.each(STEPS.slice(1))(
    'if the connection of a correction is lost after %s was written: the first result stays',
    async (...step) => {
      const [, table, event] = step
      await publish(correctable(1, FIRST))
      const gate = await Gate.close(database, table, event)
      try {
        const corrected = publish(result(2, SECOND))
        const cut = expect(corrected).rejects.toThrow(/terminat/)
        const [pid] = await gate.awaitStopped()
        expect(await seen()).toEqual(SEEN_CORRECTABLE)
        await database.pool.query('select pg_terminate_backend($1)', [pid])
        await cut
        expect(await seen()).toEqual(SEEN_CORRECTABLE)
        await gate.open()
        expect((await publish(result(2, SECOND))).written).toBe(true)
        expect(await seen()).toEqual(SEEN_SECOND)
      } finally {
        await gate.remove()
      }
    },
  )

  test('in every snapshot that readers take during corrections', async () => {
    const corrections = (async () => {
      for (let revision = 1; revision <= 30; revision++)
        await publish(
          correctable(revision, [
            ['a.example', '', 'DE', revision],
            ['a.example', '', 'FR', revision],
          ]),
        )
    })()
    let done = false
    void corrections.finally(() => (done = true))
    const revisions = new Set<number>()
    while (!done) {
      const rows = await database.rows<{ revision: number; hits: string; total: string; countries: string }>(
        `select revision, num_hits as hits, (select sum(num_hits) from aggregated_web_traffic) as total,
          (select sum(num_hits) from aggregated_web_traffic_by_country) as countries from traffic_windows`,
      )
      for (const { revision, hits, total, countries } of rows) {
        revisions.add(revision)
        expect([hits, total, countries]).toEqual(Array(3).fill(String(2 * revision)))
      }
    }
    await corrections
    expect(revisions.size).toBeGreaterThan(1)
  })
})

describe('publishing again', () => {
  test('changes nothing and returns written: false', async () => {
    await publish(result(1, FIRST))
    const before = await database.contents()
    expect(await publish(result(1, FIRST))).toMatchObject({ written: false })
    expect(await publish(result(1, SECOND))).toMatchObject({ written: false })
    expect(await database.contents()).toEqual(before)
  })

  test('concurrently writes once', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => publish(result(1, FIRST))))
    expect(answers.filter(({ written }) => written)).toEqual([{ written: true, groups: 4, otherHits: 0 }])
    expect(await seen()).toEqual(SEEN_FIRST)
  })

  test('with a higher revision replaces every row of the window, and of no other window', async () => {
    const other = T0 + WINDOW
    await publish(correctable(1, FIRST))
    await publish(result(1, FIRST, other))
    await publish(result(2, SECOND))
    expect(await seen()).toEqual(SEEN_SECOND)
    expect(await seen(other)).toEqual(SEEN_FIRST)
    expect(await findWindow(database.db, T0)).toEqual({
      revision: 2,
      applied: [{ partition: 0, from: 20, basis: null, last: 29 }],
      status: 'closed',
    })
  })
})

describe('an older revision that arrives late', () => {
  test('changes nothing', async () => {
    await publish(result(2, SECOND))
    const before = await database.contents()
    expect(await publish(correctable(1, FIRST))).toMatchObject({ written: false })
    expect(await database.contents()).toEqual(before)
  })

  test.each([
    ['waits for a newer one that is being written, and changes nothing', 2, 1],
    ['is overwritten by a newer one that waited for it', 1, 2],
  ])('%s', async (_, ahead, behind) => {
    const results = { 1: correctable(1, FIRST), 2: result(2, SECOND) } as Record<number, WindowResult>
    const gate = await Gate.close(database, 'aggregated_web_traffic')
    try {
      const first = publish(results[ahead]!)
      await gate.awaitStopped()
      const second = publish(results[behind]!)
      await gate.awaitBehind()
      await gate.open()
      expect((await first).written).toBe(true)
      expect((await second).written).toBe(behind > ahead)
      expect(await seen()).toEqual(SEEN_SECOND)
    } finally {
      await gate.remove()
    }
  })

  test('is written if the newer one that it waited for was cut off', async () => {
    const gate = await Gate.close(database, 'aggregated_web_traffic')
    try {
      const cut = expect(publish(result(2, SECOND))).rejects.toThrow(/terminat/)
      const [pid] = await gate.awaitStopped()
      const older = publish(correctable(1, FIRST))
      await gate.awaitBehind()
      await database.pool.query('select pg_terminate_backend($1)', [pid])
      await cut
      await gate.open()
      expect((await older).written).toBe(true)
      expect(await seen()).toEqual(SEEN_CORRECTABLE)
      expect((await publish(result(2, SECOND))).written).toBe(true)
      expect(await seen()).toEqual(SEEN_SECOND)
    } finally {
      await gate.remove()
    }
  })

  test('never wins when twenty arrive at once in any order', async () => {
    for (let round = 0; round < 5; round++) {
      const start = T0 + round * WINDOW
      const revisions = Array.from({ length: 20 }, (_, i) => ((i * 7 + round) % 20) + 1)
      await Promise.all(
        revisions.map(revision => {
          const groups: Group[] = [['a.example', '', 'DE', revision]]
          return publish(
            revision < 20 ? correctable(revision, groups, start) : result(revision, groups, start),
          )
        }),
      )
      const { windows, totals } = await seen(start)
      expect(windows).toEqual([{ revision: 20, num_hits: '20', groups: '1', status: 'closed' }])
      expect(totals).toEqual([{ host: 'a.example', referrer: '', num_hits: '20' }])
    }
  })
})

describe('an attempt with a higher revision that arrives after the window has closed', () => {
  test.each(['published', 'closed'] as const)('as %s writes nothing', async status => {
    await publish(result(2, SECOND))
    const before = await database.contents()
    const zombie = { ...result(3, FIRST), status }
    expect(await publish(zombie)).toEqual({ written: false, groups: 2, otherHits: 0 })
    expect(await database.contents()).toEqual(before)
  })

  test('writes nothing if it had to wait for the window to close', async () => {
    const gate = await Gate.close(database, 'aggregated_web_traffic')
    try {
      const closing = publish(result(1, SECOND))
      await gate.awaitStopped()
      const zombie = publish(result(2, FIRST))
      await gate.awaitBehind()
      await gate.open()
      expect((await closing).written).toBe(true)
      expect((await zombie).written).toBe(false)
      expect(await seen()).toEqual({ ...SEEN_SECOND, windows: [{ ...SEEN_SECOND.windows[0], revision: 1 }] })
    } finally {
      await gate.remove()
    }
  })
})

describe('the totals', () => {
  /** Differences between the two tables: rows that are not the sum over countries, or duplicates. */
  const differences = () =>
    database.rows(`
      with sums as (
        select window_start, window_end, host, referrer, sum(num_hits) as num_hits
        from aggregated_web_traffic_by_country group by window_start, window_end, host, referrer
      )
      (select *, 'is no sum' as why from (table aggregated_web_traffic except table sums) a)
      union all (select *, 'is missing' from (table sums except table aggregated_web_traffic) b)
      union all (
        select window_start, window_end, host, referrer, count(*), 'comes more than once'
        from aggregated_web_traffic group by window_start, window_end, host, referrer having count(*) > 1)`)

  test('are the sums over the countries, with one row per window, host and referrer', async () => {
    for (let window = 0; window < 4; window++) {
      const groups = Array.from({ length: 500 }, (_, i): Group => {
        const [a, b, c] = [i % 7, (i * i) % 11, (i * 31) % 13]
        return [`h${a}.example`, `https://r.example/${b}`, `C${c}`, 1 + (i % 5)]
      })
      await publish(result(1, groups, T0 + window * WINDOW))
    }
    expect(await differences()).toEqual([])
    const [counted] = await database.rows<{ totals: string; windows: string; wrong: string }>(`
      select (select sum(num_hits) from aggregated_web_traffic) as totals,
        (select sum(num_hits) from window_results) as windows,
        (select count(*) from aggregated_web_traffic where window_end - window_start <> '5 minutes') as wrong`)
    expect(counted).toEqual({ totals: '6000', windows: '6000', wrong: '0' })
    await database.pool.query(
      `update aggregated_web_traffic set num_hits = num_hits + 1 where host = 'h1.example'`,
    )
    expect(await differences()).not.toEqual([])
  })

  test('are exact beyond 32 bits', async () => {
    const many = 4_503_599_627_370_495
    await publish(
      result(1, [
        ['a.example', '', 'DE', many],
        ['a.example', '', 'FR', many],
      ]),
    )
    expect((await seen()).totals).toEqual([{ host: 'a.example', referrer: '', num_hits: '9007199254740990' }])
  })

  test('of a window that a correction empties are gone', async () => {
    await publish(correctable(1, FIRST))
    expect(await publish(result(2, []))).toEqual({ written: true, groups: 0, otherHits: 0 })
    expect(await seen()).toEqual({
      windows: [{ revision: 2, num_hits: '0', groups: '0', status: 'closed' }],
      totals: [],
      byCountry: [],
    })
  })
})

test('a window without hits gets no row and no partitions', async () => {
  const start = Date.UTC(2031, 0, 1)
  const before = await database.contents()
  expect(await publish(result(1, [], start))).toEqual({ written: false, groups: 0, otherHits: 0 })
  expect(await publish(correctable(2, [], start))).toMatchObject({ written: false })
  expect(await database.contents()).toEqual(before)
  expect(await findWindow(database.db, start)).toBeUndefined()
  expect(await database.rows(`select from pg_class where relname like '%2031_01'`)).toEqual([])
})

describe('strings arrive byte for byte', () => {
  const AWKWARD = {
    'the empty string': '',
    'the text NULL': 'NULL',
    'the text null': 'null',
    quotes: `"'"''""`,
    backslashes: '\\ \\\\ \\" \\n \\x41 \\',
    'braces and commas': '{a,"b",{c}},',
    'an empty array': '{}',
    dollars: '$1 $$ ${x} :name ?',
    'SQL in it': `'); drop table window_results; --`,
    'leading and trailing blanks': '  https://r.example/ \t',
    'line ends': 'a\r\nb\nc\u2028d',
    'control characters': '\u0001\u0008\u001b[31m\u007f',
    'the replacement character': '\uFFFD',
    'no break and zero width': '\u00a0\u200b\ufeff',
    'precomposed é': '\u00e9',
    'decomposed é': 'e\u0301',
    'upper case': 'HTTPS://R.EXAMPLE/',
    'lower case': 'https://r.example/',
    '2,048 characters of four bytes': '\u{1F600}'.repeat(2_048),
    '2,048 other characters of four bytes': '\u{1F600}'.repeat(2_047) + '\u{1F601}',
  }

  async function stored(): Promise<Map<string, string>> {
    const rows = await database.rows<{ bytes: Buffer; num_hits: string }>(
      `select convert_to(referrer, 'UTF8') as bytes, num_hits from aggregated_web_traffic`,
    )
    return new Map(rows.map(({ bytes, num_hits }) => [bytes.toString('hex'), num_hits]))
  }

  test('from referrers with any content, each in its own row', async () => {
    const referrers = Object.values(AWKWARD)
    await publish(
      result(
        1,
        referrers.map((referrer, i): Group => ['a.example', referrer, 'DE', i + 1]),
      ),
    )
    const wanted = referrers.map(
      (referrer, i) => [Buffer.from(referrer).toString('hex'), String(i + 1)] as const,
    )
    expect(await stored()).toEqual(new Map(wanted))
  })

  test('from hosts and countries too', async () => {
    const texts = Object.values(AWKWARD).filter(text => text.length <= 255)
    await publish(
      result(
        1,
        texts.map((text): Group => [text, '', text, 1]),
      ),
    )
    const rows = await database.rows<Row>('select host, country from aggregated_web_traffic_by_country')
    expect(rows.map(({ host }) => host).sort()).toEqual([...texts].sort())
    expect(rows.every(({ host, country }) => host === country)).toBe(true)
  })
})

describe('a large window', () => {
  /** Too many for a statement with one parameter per value, which has at most 65,535. */
  function large(groups: number): ColumnarCounts {
    return columns(
      ...Array.from({ length: groups }, (_, i): Group => [
        `h${i % 50}.example`,
        `https://r.example/${i >> 1}`,
        i % 2 ? 'DE' : 'FR',
        1,
      ]),
    )
  }

  test('with 60,000 groups is written in one transaction, by statements of a bounded size', async () => {
    const window = { ...result(1, []), hits: 60_000, counts: large(60_000) }
    const largest = await measured(database, async db =>
      expect(await publishWindow(db, window)).toEqual({ written: true, groups: 60_000, otherHits: 0 }),
    )
    expect(largest.elements).toBeLessThanOrEqual(10_000)
    const [counted] = await database.rows(`
      select (select count(*) from aggregated_web_traffic) as totals,
        (select sum(num_hits) from aggregated_web_traffic) as hits,
        (select count(*) from aggregated_web_traffic_by_country) as countries`)
    expect(counted).toEqual({ totals: '60000', hits: '60000', countries: '60000' })
    expect(await publish(window)).toMatchObject({ written: false })
  })

  test('with long referrers names them up to 200 characters per group of MAX_GROUPS, in small statements', async () => {
    const groups = Array.from({ length: 1_600 }, (_, i): Group => [
      'a.example',
      `https://${i}.example/`.padEnd(2_000, 'x'),
      'DE',
      1 + (i % 3),
    ])
    const window = result(1, groups)
    const largest = await measured(database, db =>
      publishWindow(db, { ...window, maxGroups: 10_000, status: 'published' }),
    )
    expect(largest.characters).toBeLessThanOrEqual(1_100_000)
    const names = () =>
      database.rows(
        `select sum(num_hits)::int as hits, (count(*) filter (where length(referrer) = 2000))::int as long,
          (sum(num_hits) filter (where referrer = '(other)'))::int as other from aggregated_web_traffic`,
      )
    // A host and a referrer have 2,009 characters.
    expect(await names()).toEqual([{ hits: window.hits, long: 995, other: expect.any(Number) }])
    const roomy = { ...window, maxGroups: 16_072, revision: 2 }
    expect(await publish(roomy)).toMatchObject({ written: true, groups: 1_600, otherHits: 0 })
    expect(await names()).toEqual([{ hits: window.hits, long: 1_600, other: null }])
  })
})

describe('a window in pieces', () => {
  const chain = 'first-run'
  const stage = (number: number, ...groups: Group[]) =>
    stagePiece(database.db, { start: T0, chain }, number, [columns(...groups)])
  const staged = () => database.rows('select chain, number from staged_pieces order by 1, 2')
  const inPieces = (count: number, fields: Partial<WindowResult> = {}): WindowResult => ({
    ...result(1, FIRST.slice(3)),
    hits: 10,
    pieces: { chain, count },
    ...fields,
  })

  test('combines all of them, and leaves none once it is closed', async () => {
    await stage(1, FIRST[0]!, ['a.example', 'https://r.example/', 'FR', 1])
    await stage(2, ['a.example', 'https://r.example/', 'FR', 3], FIRST[2]!)
    // From an abandoned chain of runs.
    await stagePiece(database.db, { start: T0, chain: 'other' }, 1, [columns(['z.example', '', 'DE', 9])])
    expect(await publish(inPieces(2, { status: 'published' }))).toEqual({
      written: true,
      groups: 4,
      otherHits: 0,
    })
    expect(await seen()).toEqual({
      ...SEEN_FIRST,
      windows: [{ ...SEEN_FIRST.windows[0], status: 'published' }],
    })
    expect(await staged()).toHaveLength(3)
    expect(await publish(inPieces(2))).toMatchObject({ written: false, groups: 4 })
    expect(await seen()).toEqual(SEEN_FIRST)
    expect(await staged()).toEqual([])
  })

  test('is not published until all of them have arrived', async () => {
    await stage(2, ...FIRST.slice(0, 3))
    await expect(publish(inPieces(2))).rejects.toThrow(PiecesMissingError)
    expect((await seen()).windows).toEqual([])
    expect(await findWindow(database.db, T0)).toBeUndefined()
  })

  test('counts a piece that is sent twice only once', async () => {
    await stage(1, ...FIRST.slice(0, 3))
    await stage(1, ...FIRST.slice(0, 3))
    await publish(inPieces(1))
    expect(await seen()).toEqual(SEEN_FIRST)
  })

  test('whose pieces do not add up to its hits is not published', async () => {
    await stage(1, FIRST[0]!)
    await expect(publish(inPieces(1))).rejects.toThrow('5 hits, not 10')
  })

  test('with more groups than keep their name has exact totals', async () => {
    const groups = Array.from({ length: 50 }, (_, i): Group => [
      'a.example',
      `https://r/${i}`,
      'DE',
      1 + (i % 3),
    ])
    const hits = groups.reduce((sum, [, , , hits]) => sum + hits, 0)
    const published = await publish({ ...result(1, groups), maxGroups: 10 })
    const rows = await database.rows<{ referrer: string; hits: number }>(
      'select referrer, num_hits::int as hits from aggregated_web_traffic order by referrer',
    )
    expect(rows).toHaveLength(11)
    expect(rows.reduce((sum, row) => sum + row.hits, 0)).toBe(hits)
    const other = rows.find(({ referrer }) => referrer === '(other)')!.hits
    expect(published).toEqual({ written: true, groups: 11, otherHits: other })
  })
})

test('a published revision is closed unchanged, once, and an older one closes nothing', async () => {
  await publish({ ...result(2, SECOND), status: 'published' })
  expect((await seen()).windows).toMatchObject([{ revision: 2, status: 'published' }])
  await publish(result(1, FIRST))
  expect((await seen()).windows).toMatchObject([{ revision: 2, status: 'published' }])
  expect(await publish(result(2, SECOND))).toMatchObject({ written: false })
  expect(await seen()).toEqual(SEEN_SECOND)
  const before = await database.contents()
  await publish(result(2, SECOND))
  await publish({ ...result(2, SECOND), status: 'published' })
  expect(await database.contents()).toEqual(before)
})
