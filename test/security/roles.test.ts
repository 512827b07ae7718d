import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { Pool } from 'pg'
import { GroupCounter } from '../../src/core/counts/columnar'
import { openDatabase, type Db } from '../../src/postgres/database'
import { pendingMigrations } from '../../src/postgres/migrate'
import { findWindow } from '../../src/postgres/open-window'
import { claimSchema, isClaimed } from '../../src/postgres/owner'
import { publishWindow } from '../../src/postgres/publish-window'
import { recordClosed } from '../../src/postgres/record-closed'
import { recordExceptions } from '../../src/postgres/record-exceptions'
import { repairWindow } from '../../src/postgres/repair-window'
import { replayWindow } from '../../src/postgres/replay-window'
import { verifyWindow } from '../../src/postgres/verify-window'
import { dropPastRetention } from '../../src/postgres/retention'
import { sealPeriod } from '../../src/postgres/seal'
import { dropStagedRepeats, stageDelta } from '../../src/postgres/staged-deltas'
import { stagePiece } from '../../src/postgres/staged-pieces'
import { storedTotals } from '../../src/postgres/totals'
import { columns, T0, TestDatabase, WINDOW, type Group } from '../postgres/support'

const ROLES = readFileSync(join(__dirname, '..', '..', 'ddl', 'roles.sql'), 'utf8')
const PASSWORD = 'for-this-test'
const DENIED = '42501'

const unique = randomUUID().slice(0, 8)
const logins = { writer: `counting_${unique}`, reader: `looking_${unique}` }

let database: TestDatabase
let writer: Db
const pools: Record<'writer' | 'reader', Pool> = {} as never

beforeAll(async () => {
  database = await TestDatabase.migrated()
  // Twice, because roles.sql runs again after every migrate.
  await database.pool.query(ROLES)
  await database.pool.query(ROLES)
  for (const role of ['writer', 'reader'] as const) {
    await database.pool.query(
      `create role ${logins[role]} login password '${PASSWORD}' in role web_traffic_${role}`,
    )
    pools[role] = new Pool({ ...database.postgres, user: logins[role], password: PASSWORD, max: 2 })
  }
  writer = openDatabase({ ...database.postgres, user: logins.writer, password: PASSWORD }, 2)
})

afterAll(async () => {
  await writer?.destroy()
  await Promise.all(Object.values(pools).map(pool => pool.end()))
  for (const login of Object.values(logins)) await database.pool.query(`drop role if exists ${login}`)
  await database.drop()
})

const GROUPS: Group[] = [
  ['a.example', '', 'DE', 2],
  ['b.example', 'https://r.example/', 'FR', 3],
]
const HITS = 5

let rounds = 0

/** Performs every query of workers and their commands, each time with new windows and ranges. */
async function everything(db: Db): Promise<void> {
  const start = T0 + rounds * 2 * WINDOW
  const from = rounds++ * 100
  const counts = columns(...GROUPS)
  const chain = 'chain'
  const pieces = { chain, count: 1 }
  const totals = { start, end: start + WINDOW, maxGroups: 1, counts, applied: [] }
  const late = columns(['late.example', '', 'DE', 1])
  const delta = { partition: 1, from, basis: null, first: from, last: from + 9, hits: 1, ...late }

  await pendingMigrations(db)
  await isClaimed(db)
  await claimSchema(db, { group: 'group', topic: 'topic', namespace: 'default' })
  await findWindow(db, start)
  await stagePiece(db, { start, chain }, 1, [counts])
  await publishWindow(db, { ...totals, revision: 1, status: 'published', hits: 2 * HITS, pieces })
  const stagedHits = { partition: 2, from, basis: null, first: from, last: from + 9, hits: HITS, ...counts }
  await stageDelta(db, start, stagedHits)
  const staged = { hits: HITS, last: [[2, [from + 9]]] as [number, number[]][] }
  const books = [{ book: 1, hits: 3 * HITS, exceptions: 0 }]
  const closing = { ...totals, revision: 2, hits: 3 * HITS, pieces, staged, books }
  await publishWindow(db, { ...closing, status: 'closed' })
  await stagePiece(db, { start, chain }, 1, [delta])
  await recordClosed(db, { start, topic: 'topic', windowSize: WINDOW, deltas: [], pieces, books })
  await dropStagedRepeats(db)
  const exceptions = {
    partition: 1,
    from,
    late: [{ windowStart: start, ...late }],
    rejected: { invalid_json: 1 },
    samples: [[from, 'invalid_json']] as [number, string][],
  }
  expect(await recordExceptions(db, 'topic', WINDOW, exceptions)).toBe(true)
  expect(await recordExceptions(db, 'topic', WINDOW, exceptions)).toBe(false)
  const another = {
    ...exceptions,
    from: from + 1,
    samples: [[from + 1, 'invalid_json']] as [number, string][],
  }
  expect(await recordExceptions(db, 'topic', WINDOW, another)).toBe(true)
  const counter = () => {
    const counter = new GroupCounter()
    for (const group of GROUPS) counter.add(...group)
    return counter
  }
  const replayed = await replayWindow(db, { start, counter: counter(), includeLate: true, acceptLoss: true })
  expect(replayed).toMatchObject({ outcome: 'replayed', hits: HITS + 3, broughtIn: 3 })
  expect(await verifyWindow(db, start, counter())).toMatchObject({ differences: [] })
  const stretch = {
    ...{
      partition: 1,
      from,
      to: from + 10,
      hitsTo: from + 10,
      basis: null,
      lastHit: from + 9,
      last: from + 9,
    },
    ...{ hits: HITS, records: 0, lost: 0 },
    exceptions: { partition: 1, from, late: [], rejected: {}, samples: [] },
  }
  const repair = { start, end: start + WINDOW, topic: 'topic', counter: counter(), books, acceptLoss: true }
  expect(await repairWindow(db, { ...repair, stretches: () => [stretch] })).toMatchObject({ lost: {} })
  await sealPeriod(db, 'hour', T0)
  await dropPastRetention(db, Date.UTC(2000, 0))
  await db
    .updateTable('rejected_events')
    .set({ republished_at: new Date() })
    .where('topic', '=', 'topic')
    .execute()
  await storedTotals(db)
  await db.selectFrom('traffic_windows').selectAll().execute()
}

interface Grant {
  role: string
  table: string
  privilege: string
  column: string | null
}

/** The privileges of a role in this schema, according to Postgres. */
function grantsTo(role: string): Promise<Grant[]> {
  return database.rows<Grant>(
    `select grantee as role, table_name as table, privilege_type as privilege, null as column
     from information_schema.role_table_grants where grantee = $1 and table_schema = 'public'
     union all
     select c.grantee, c.table_name, c.privilege_type, c.column_name
     from information_schema.role_column_grants c
     where c.grantee = $1 and c.table_schema = 'public' and not exists (
       select from information_schema.role_table_grants t
       where t.grantee = c.grantee and t.table_name = c.table_name and t.privilege_type = c.privilege_type)
     order by 2, 3`,
    [role],
  )
}

const named = ({ privilege, column, table }: Grant) =>
  `${privilege}${column ? ` (${column})` : ''} on ${table}`

describe('the writer', () => {
  test('can perform every query of workers and their commands', async () => {
    await everything(writer)
  })

  test('has no unnecessary privilege', async () => {
    const grants = await grantsTo('web_traffic_writer')
    expect(grants.length).toBeGreaterThan(20)
    const notNeeded: string[] = []
    for (const grant of grants) {
      await database.pool.query(`revoke ${named(grant)} from web_traffic_writer`)
      const refused = await everything(writer).then(
        () => false,
        (error: { code?: string }) => error.code === DENIED,
      )
      if (!refused) notNeeded.push(named(grant))
      await database.pool.query(`grant ${named(grant)} to web_traffic_writer`)
    }
    expect(notNeeded).toEqual([])
    await everything(writer)
  })
})

test('the reader can read the results and views, and nothing else', async () => {
  const grants = await grantsTo('web_traffic_reader')
  expect(grants.map(named)).toEqual([
    'SELECT on aggregated_web_traffic',
    'SELECT on aggregated_web_traffic_by_country',
    'SELECT on late_deltas',
    'SELECT on late_web_traffic',
    'SELECT on past_retention',
    'SELECT on rejected_counts',
    'SELECT on rejected_events',
    'SELECT on sealed_periods',
    'SELECT on traffic_rollups',
    'SELECT on traffic_windows',
    'SELECT on window_results',
  ])
  for (const { table } of grants) await pools.reader.query(`select count(*) from ${table}`)
})

describe('permission is denied', () => {
  const OF_BOTH = [
    'create table mine (x int)',
    'create temporary table mine (x int)',
    'create schema mine',
    'create role mine',
    'drop table aggregated_web_traffic',
    'drop view traffic_windows',
    'alter table window_results add column mine int',
    'truncate aggregated_web_traffic',
    'create index mine on aggregated_web_traffic (host)',
    'delete from window_results',
    'update exception_ranges set records = 0',
    'delete from window_books',
    'update window_books set num_hits = 0',
    'update staged_deltas set num_hits = 0',
    'delete from rejected_counts',
    "update pipeline_owner set kafka_group = 'mine'",
    'delete from pipeline_owner',
    'update aggregated_web_traffic set num_hits = 0',
    'update late_deltas set num_hits = 0',
    'delete from kysely_migration',
  ]
  const OF_READER = [
    'select * from pipeline_owner',
    'select * from exception_ranges',
    'delete from exception_ranges',
    'select * from staged_pieces',
    'select * from staged_deltas',
    'select * from window_books',
    'delete from aggregated_web_traffic',
    'delete from rejected_events',
    'delete from late_deltas',
    'delete from traffic_rollups',
    'select create_partitions(now())',
    'select drop_partitions(now())',
    "insert into aggregated_web_traffic values (now(), now(), 'mine', '', 1)",
    'update window_results set num_hits = 0',
    'delete from staged_pieces',
    'delete from staged_deltas',
  ]
  test.each([
    ...OF_BOTH.map(statement => ['writer', statement] as const),
    ...[...OF_BOTH, ...OF_READER].map(statement => ['reader', statement] as const),
  ])('to the %s: %s', async (role, statement) => {
    const outcome = await pools[role].query(statement).then(
      () => 'done',
      ({ code, message }: { code: string; message: string }) => (code === DENIED ? DENIED : message),
    )
    expect(outcome).toBe(DENIED)
  })

  test('neither is a superuser or can create roles, databases or tables', async () => {
    for (const login of Object.values(logins)) {
      const [row] = await database.rows(
        `select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls,
          has_database_privilege(rolname, current_database(), 'create') as database,
          has_schema_privilege(rolname, 'public', 'create') as schema,
          (select count(*)::int from pg_class where relowner = r.oid) as owned
         from pg_roles r where rolname = $1`,
        [login],
      )
      expect(row).toEqual({
        rolsuper: false,
        rolcreaterole: false,
        rolcreatedb: false,
        rolbypassrls: false,
        database: false,
        schema: false,
        owned: 0,
      })
    }
  })
})
