import { setTimeout } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { sql } from 'kysely'
import { ConnectionPool, type Bounds } from '../../src/postgres/connection-pool'
import { databaseOf, type Db } from '../../src/postgres/database'
import { postgresFailure } from '../../src/postgres/failures'
import { Relay } from '../../trials/relay'
import { TestDatabase } from './support'

const LIMITS = { statement: 5_000, answer: 6_000, lock: 4_000, idle: 3_000 }

let database: TestDatabase
let relay: Relay
let pools: ConnectionPool[] = []

beforeAll(async () => {
  database = await TestDatabase.migrated()
  relay = new Relay()
  await relay.open()
  await database.rows('create table counter as select 1 as n')
})

afterEach(async () => {
  await Promise.all(pools.map(pool => pool.end()))
  pools = []
})

afterAll(async () => {
  await relay.close()
  await database.drop()
})

/** Connects through the relay. */
function connect(bounds: Bounds, connections = 1): Db {
  const { hostname: host, port } = new URL(relay.url)
  const pool = new ConnectionPool({ ...database.postgres, host, port: Number(port) }, connections)
  pools.push(pool)
  return databaseOf(pool, bounds)
}

const increment = (db: Db) => sql`update counter set n = n + 1`.execute(db)

function latch() {
  let open!: () => void
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  return { open, opened }
}

/** Starts a transaction that holds the lock of a row; resolves once it has the lock, with its outcome. */
async function hold(db: Db, then: () => Promise<unknown>) {
  const locked = latch()
  const outcome = db
    .transaction()
    .execute(async transaction => {
      await increment(transaction)
      locked.open()
      await then()
      await increment(transaction)
    })
    .then(
      () => undefined,
      (error: unknown) => error,
    )
  await locked.opened
  return { outcome }
}

const failureOf = (error: unknown) => postgresFailure(error, database.postgres)
const IN_TRANSACTION = `select pid from pg_stat_activity where datname = current_database() and state ~ 'in transaction'`

test('a connection whose packets are swallowed is given up, and holds no lock for others', async () => {
  const dead = connect({ limits: LIMITS })
  const { outcome } = await hold(dead, () => Promise.resolve(relay.swallow()))
  const since = Date.now()
  // The server ends the session that it no longer hears, long before this process notices that nobody answers.
  await increment(connect({ limits: LIMITS }))
  expect(Date.now() - since).toBeLessThan(LIMITS.answer)
  expect(failureOf(await outcome)).toEqual({
    permanent: false,
    message: expect.stringContaining('has not answered a query for 6s; the connection was cut'),
  })
  // The pool has one connection.
  await increment(dead)
})

test('a statement that waits for a lock fails, and its reason speaks of the lock', async () => {
  const limits = { ...LIMITS, lock: 300 }
  const release = latch()
  const { outcome } = await hold(connect({ limits }), () => release.opened)
  const waiting = connect({ limits }).transaction().execute(increment)
  expect(failureOf(await waiting.catch((error: unknown) => error))).toEqual({
    permanent: false,
    message: expect.stringContaining('another session holds a lock'),
  })
  release.open()
  expect(await outcome).toBeUndefined()
})

test('a statement that takes too long is stopped by the server', async () => {
  const db = connect({ limits: { ...LIMITS, statement: 200 } })
  const slow = db.transaction().execute(transaction => sql`select pg_sleep(60)`.execute(transaction))
  expect(failureOf(await slow.catch((error: unknown) => error))).toEqual({
    permanent: false,
    message: expect.stringContaining('stopped a statement'),
  })
})

test('the limits end with the transaction, as a pooler between needs', async () => {
  const db = connect({ limits: LIMITS })
  const timeouts = (on: Db) =>
    sql`select current_setting('statement_timeout') || ' ' || current_setting('lock_timeout') || ' ' ||
      current_setting('idle_in_transaction_session_timeout') as timeouts`.execute(on)
  expect((await db.transaction().execute(timeouts)).rows).toEqual([{ timeouts: '5s 4s 3s' }])
  expect((await timeouts(db)).rows).toEqual([{ timeouts: '0 0 0' }])
})

test('cancelling gives the connection back, and the server rolls back', async () => {
  const cancelled = new AbortController()
  const db = connect({ limits: LIMITS, signal: cancelled.signal })
  const { outcome } = await hold(db, () => Promise.resolve(cancelled.abort(new Error('given up'))))
  expect(await outcome).toEqual(new Error('given up'))
  await increment(connect({ limits: LIMITS }))
  expect(await database.rows(IN_TRANSACTION)).toEqual([])
})

test('when all connections are in use, the reason says so and not that the server is unreachable', async () => {
  const db = connect({ limits: LIMITS })
  const release = latch()
  const { outcome } = await hold(db, () => release.opened)
  expect(failureOf(await increment(db).catch((error: unknown) => error))).toEqual({
    permanent: false,
    message: expect.stringContaining('All 1 connections of this process'),
  })
  release.open()
  await outcome
})

test('a pool with a dead connection still ends', async () => {
  const db = connect({ limits: LIMITS })
  await increment(db)
  relay.swallow()
  const silent = increment(db).catch((error: unknown) => error)
  await setTimeout(100)
  const since = Date.now()
  await pools.pop()!.end()
  expect(Date.now() - since).toBeLessThan(LIMITS.answer + 5_000)
  expect(failureOf(await silent)).toMatchObject({ message: expect.stringContaining('unreachable') })
})
