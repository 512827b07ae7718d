import { randomUUID } from 'node:crypto'
import { Kysely } from 'kysely'
import { Client, Pool } from 'pg'
import { loadConfig } from '../../src/config'
import { GroupCounter, type ColumnarCounts } from '../../src/core/counts/columnar'
import { ConnectionPool, type PostgresConfig } from '../../src/postgres/connection-pool'
import { type Db, openDatabase } from '../../src/postgres/database'
import { migrate } from '../../src/postgres/migrate'
import type { Database } from '../../src/postgres/schema'

export const MINUTE = 60_000
export const T0 = Date.UTC(2026, 0, 1, 12)
export const WINDOW = 5 * MINUTE

/** A database for one test file, on the server that all tests share. */
export class TestDatabase {
  readonly postgres: PostgresConfig
  /** Plain connections, for what a test reads or changes without the product. */
  readonly pool: Pool
  readonly db: Db

  private constructor(name: string) {
    this.postgres = { ...loadConfig().postgres, database: name }
    this.pool = new Pool({ ...this.postgres, max: 4 })
    this.db = openDatabase(this.postgres, 10)
    this.pool.on('error', () => undefined)
  }

  static async empty(): Promise<TestDatabase> {
    const name = `test_${randomUUID().replaceAll('-', '')}`
    await administer(`create database ${name}`)
    return new TestDatabase(name)
  }

  static async migrated(): Promise<TestDatabase> {
    const database = await TestDatabase.empty()
    await migrate(database.db)
    return database
  }

  async rows<Row extends object>(statement: string, parameters: unknown[] = []): Promise<Row[]> {
    return (await this.pool.query<Row>(statement, parameters)).rows
  }

  /** The rows of all results and exceptions, to assert that nothing changed. */
  async contents(): Promise<object> {
    const tables = [
      'window_results',
      'aggregated_web_traffic',
      'aggregated_web_traffic_by_country',
      'staged_pieces',
      'staged_deltas',
      'window_books',
      'exception_ranges',
      'late_deltas',
      'rejected_counts',
      'rejected_events',
    ]
    const contents = await Promise.all(
      tables.map(async table => [
        table,
        (await this.rows<{ row: string }>(`select t::text as row from ${table} t order by 1`)).map(
          r => r.row,
        ),
      ]),
    )
    return Object.fromEntries(contents) as object
  }

  async drop(): Promise<void> {
    await this.db.destroy()
    await this.pool.end()
    await administer(`drop database if exists ${this.postgres.database} with (force)`)
  }
}

/** What one statement has sent and received at most: that much is processed without a break. */
export interface LargestStatement {
  /** Elements of an array among its parameters. */
  elements: number
  characters: number
  rows: number
}

/** Runs `use` with a connection of its own, and returns the size of the largest statement. */
export async function measured(
  database: TestDatabase,
  use: (db: Db) => Promise<unknown>,
): Promise<LargestStatement> {
  const largest: LargestStatement = { elements: 0, characters: 0, rows: 0 }
  const raise = (field: keyof LargestStatement, to: number) => (largest[field] = Math.max(largest[field], to))
  const db = new Kysely<Database>({
    dialect: new ConnectionPool(database.postgres, 1).dialect({}),
    log({ query }) {
      const texts = query.parameters.flat().map(String)
      raise(
        'characters',
        texts.reduce((sum, { length }) => sum + length, 0),
      )
      for (const parameter of query.parameters)
        if (Array.isArray(parameter)) raise('elements', parameter.length)
    },
    plugins: [
      {
        transformQuery: ({ node }) => node,
        transformResult({ result }) {
          raise('rows', result.rows.length)
          return Promise.resolve(result)
        },
      },
    ],
  })
  await use(db).finally(() => db.destroy())
  return largest
}

async function administer(statement: string): Promise<void> {
  const client = new Client({ ...loadConfig().postgres, database: 'postgres' })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

const GATE = 4711

/**
 * Blocks each write to `table` right after its statement, inside its transaction, until the gate opens. A test can then
 * check what others see meanwhile and what a lost connection leaves, without depending on timing.
 */
export class Gate {
  private constructor(
    private readonly database: TestDatabase,
    private readonly table: string,
    private readonly keeper: Client,
  ) {}

  static async close(database: TestDatabase, table: string, event = 'insert'): Promise<Gate> {
    await database.pool.query(`
      create or replace function gate() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(${GATE}); return null; end $$;
      create trigger gate after ${event} on ${table} for each statement execute function gate()`)
    const keeper = new Client(database.postgres)
    await keeper.connect()
    await keeper.query(`select pg_advisory_lock(${GATE})`)
    return new Gate(database, table, keeper)
  }

  /** Waits until `count` server processes are blocked at the gate; returns their ids. */
  async awaitStopped(count = 1): Promise<number[]> {
    return awaitBackends(
      this.database,
      `select pid from pg_locks where locktype = 'advisory' and objid = ${GATE} and not granted`,
      count,
    )
  }

  /** Waits for processes that are blocked by a row lock of one at the gate. */
  async awaitBehind(count = 1): Promise<number[]> {
    return awaitBackends(
      this.database,
      `select pid from pg_locks where locktype in ('transactionid', 'tuple') and not granted`,
      count,
    )
  }

  /** Waits for processes that are blocked at the gate or behind one that is. */
  async awaitHeld(count: number): Promise<number[]> {
    return awaitBackends(this.database, 'select pid from pg_locks where not granted', count)
  }

  async open(): Promise<void> {
    await this.keeper.end()
  }

  async remove(): Promise<void> {
    await this.keeper.end().catch(() => undefined)
    await this.database.pool.query(`drop trigger if exists gate on ${this.table}`)
  }
}

async function awaitBackends(database: TestDatabase, statement: string, count: number): Promise<number[]> {
  for (const deadline = Date.now() + 10_000; ;) {
    const waiting = await database.rows<{ pid: number }>(
      `${statement} and pid in (select pid from pg_stat_activity where datname = current_database())`,
    )
    if (waiting.length >= count) return waiting.map(({ pid }) => pid)
    if (Date.now() > deadline) throw new Error(`${waiting.length} of ${count} wait`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

export type Group = [host: string, referrer: string, country: string, hits: number]

export function columns(...all: Group[]): ColumnarCounts {
  const counter = new GroupCounter()
  for (const group of all) counter.add(...group)
  return counter.columns()
}
