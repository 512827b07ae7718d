import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { ApplicationFailure } from '@temporalio/common'
import { toApplicationFailure } from '../../src/activities/to-application-failure'
import { PostgresStaging } from '../../src/activities/staging'
import { loadConfig } from '../../src/config'
import type { Delta } from '../../src/core/window/protocol'
import { claimSchema } from '../../src/postgres/owner'
import { columns, T0, TestDatabase, WINDOW } from './support'

let database: TestDatabase
let staging: PostgresStaging

const settings = { group: 'shop', topic: 'clicks', windowSize: WINDOW }
const stagingOf = (group: string) =>
  new PostgresStaging(database.db, { ...settings, group }, 'default', error =>
    toApplicationFailure(error, { ...loadConfig(), postgres: database.postgres }),
  )

beforeAll(async () => {
  database = await TestDatabase.migrated()
  await claimSchema(database.db, { ...settings, namespace: 'default' })
  staging = stagingOf('shop')
})

afterAll(async () => {
  await database.drop()
})

beforeEach(async () => {
  await database.pool.query(
    'truncate staged_deltas, exception_ranges, late_deltas, rejected_counts, rejected_events',
  )
})

const delta: Delta = {
  ...{ partition: 3, from: 10, basis: T0, first: 12, last: 19, hits: 2 },
  ...columns(['a.example', '', 'DE', 2]),
  exceptions: { records: 4, late: [], rejected: { invalid_json: 4 }, samples: [[13, 'invalid_json']] },
}

test('staging keeps the exceptions in the message, and recording keeps the counts', async () => {
  const none = { hosts: [], referrers: [], countries: [], rows: '' }
  expect(await staging.stage(T0, delta)).toEqual({ ...delta, ...none, unlocated: 0, staged: true })
  const recorded = { records: 4, recorded: true, late: [], rejected: {}, samples: [] }
  for (let i = 0; i < 2; i++)
    expect(await staging.record(T0, delta)).toEqual({ ...delta, exceptions: recorded })
  expect(
    await database.rows(
      'select kafka_partition, range_from, range_to, window_start, records from exception_ranges',
    ),
  ).toEqual([
    { kafka_partition: 3, range_from: '10', range_to: '20', window_start: new Date(T0), records: '4' },
  ])
  expect(await database.rows('select topic, partition, reason, records from rejected_counts')).toEqual([
    { topic: 'clicks', partition: 3, reason: 'invalid_json', records: '4' },
  ])
})

test('a delta without exceptions, or with recorded ones, is not changed', async () => {
  const recorded = { ...delta, exceptions: { ...delta.exceptions!, recorded: true as const } }
  const plain = { ...delta }
  delete plain.exceptions
  expect(await staging.record(T0, recorded)).toBe(recorded)
  expect(await staging.record(T0, plain)).toBe(plain)
  expect(await database.rows('select from exception_ranges')).toEqual([])
})

test('nothing is written for a pipeline that does not own the schema, which is a permanent failure', async () => {
  const refused = stagingOf('another').stage(T0, delta)
  await expect(refused).rejects.toBeInstanceOf(ApplicationFailure)
  await expect(refused).rejects.toMatchObject({ nonRetryable: true })
  expect(await database.rows('select from staged_deltas')).toEqual([])
})

test('a missing table is a permanent failure, and a cancelled statement a transient one', async () => {
  await database.pool.query('alter table staged_deltas rename to elsewhere')
  try {
    await expect(staging.stage(T0, delta)).rejects.toMatchObject({ nonRetryable: true })
  } finally {
    await database.pool.query('alter table elsewhere rename to staged_deltas')
  }
  await database.pool.query(
    `create function fail() returns trigger language plpgsql as
       $$ begin raise exception 'canceled' using errcode = '57014'; end $$;
     create trigger fail before insert on staged_deltas for each row execute function fail()`,
  )
  try {
    const error: unknown = await staging.stage(T0, delta).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(Error)
    expect(error).not.toBeInstanceOf(ApplicationFailure)
    expect((error as Error).message).toContain('stopped a statement')
  } finally {
    await database.pool.query('drop trigger fail on staged_deltas')
  }
  expect(await staging.stage(T0, delta)).toMatchObject({ staged: true })
})
