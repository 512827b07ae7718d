import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { openDatabase } from '../../src/postgres/database'
import { postgresFailure } from '../../src/postgres/failures'
import { findWindow } from '../../src/postgres/open-window'
import { publishWindow } from '../../src/postgres/publish-window'
import { columns, T0, TestDatabase, WINDOW } from './support'

let database: TestDatabase

beforeEach(async () => {
  database = await TestDatabase.migrated()
})

afterEach(() => database.drop())

/** The failure that a worker with these settings gets when it writes a window. */
async function failureOfWrite(fields: Partial<TestDatabase['postgres']> = {}) {
  const postgres = { ...database.postgres, ...fields }
  const db = openDatabase(postgres, 1)
  const counts = columns(['a.example', '', 'DE', 1])
  const totals = { revision: 1, status: 'closed' as const, hits: 1, counts, applied: [], maxGroups: 10 }
  try {
    await publishWindow(db, { start: T0, end: T0 + WINDOW, ...totals })
    return undefined
  } catch (error) {
    return postgresFailure(error, postgres)
  } finally {
    await db.destroy()
  }
}

const owner = () => `"${database.postgres.user}"`
const name = () => database.postgres.database

test('a write that succeeds has no failure, and a program error is not a Postgres failure', async () => {
  expect(await failureOfWrite()).toBeUndefined()
  expect(postgresFailure(new TypeError('x is not a function'), database.postgres)).toBeUndefined()
})

describe('permanent failures', () => {
  test('a wrong password', async () => {
    const failure = await failureOfWrite({ password: 'wrong' })
    expect(failure).toEqual({ permanent: true, message: expect.stringContaining(`refuses user ${owner()}`) })
  })

  test('a missing database', async () => {
    const failure = await failureOfWrite({ database: 'not_there' })
    expect(failure).toEqual({ permanent: true, message: expect.stringContaining('web-traffic migrate') })
  })

  test('a missing column, and a missing table', async () => {
    await database.rows('alter table aggregated_web_traffic rename column num_hits to hits')
    expect(await failureOfWrite()).toEqual({
      permanent: true,
      message: expect.stringContaining('"num_hits"'),
    })
    await database.rows('alter table aggregated_web_traffic rename to elsewhere')
    expect(await failureOfWrite()).toEqual({
      permanent: true,
      message: expect.stringContaining('"aggregated_web_traffic" does not exist'),
    })
  })

  test('a missing privilege', async () => {
    const user = `writer_${name().slice(-12)}`
    await database.rows(`create role ${user} login password 'secret'`)
    try {
      const failure = await failureOfWrite({ user, password: 'secret' })
      expect(failure).toEqual({
        permanent: true,
        message: expect.stringContaining(`User "${user}" lacks a privilege`),
      })
    } finally {
      await database.rows(`drop role ${user}`)
    }
  })

  test('a constraint that was added by hand', async () => {
    await database.rows('alter table aggregated_web_traffic add check (num_hits > 1)')
    expect(await failureOfWrite()).toEqual({ permanent: true, message: expect.stringContaining('23514') })
  })
})

describe('transient failures', () => {
  test('an unreachable server', async () => {
    const failure = await failureOfWrite({ port: 1 })
    expect(failure).toEqual({ permanent: false, message: expect.stringContaining('is unreachable') })
  })

  test('a read-only database', async () => {
    await database.rows(`alter database ${name()} set default_transaction_read_only = on`)
    expect(await failureOfWrite()).toEqual({
      permanent: false,
      message: expect.stringContaining('read-only'),
    })
  })

  test('too many connections', async () => {
    await database.rows(`alter database ${name()} connection limit 0`)
    const user = `writer_${name().slice(-12)}`
    await database.rows(`create role ${user} login password 'secret'`)
    try {
      const failure = await failureOfWrite({ user, password: 'secret' })
      expect(failure).toEqual({ permanent: false, message: expect.stringContaining('no more connections') })
    } finally {
      await database.rows(`drop role ${user}`)
    }
  })

  // Raised by a trigger on the first row that is written.
  test.each([
    ['53100', 'no disk space left'],
    ['40P01', 'SQLSTATE 40P01'],
    ['57014', 'stopped a statement'],
  ])('SQLSTATE %s', async (state, message) => {
    await database.rows(
      `create function fail() returns trigger language plpgsql as $$ begin
         raise exception 'could not extend file' using errcode = '${state}'; end $$`,
    )
    await database.rows(
      'create trigger fail before insert on aggregated_web_traffic for each row execute function fail()',
    )
    expect(await failureOfWrite()).toEqual({ permanent: false, message: expect.stringContaining(message) })
    expect(await findWindow(database.db, T0)).toBeUndefined()
  })
})
