import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { noopMetricMeter } from '@temporalio/common'
import { MockActivityEnvironment } from '@temporalio/testing'
import { createActivities } from '../../src/activities'
import type { PipelineSettings } from '../../src/core/settings'
import { ConnectionPool } from '../../src/postgres/connection-pool'
import { PollerMetrics } from '../../src/telemetry/poller-metrics'
import { checkOwner, claimSchema, WrongOwnerError, type Owner } from '../../src/postgres/owner'
import { columns, MINUTE, T0, TestDatabase, WINDOW } from './support'

let database: TestDatabase
let pool: ConnectionPool

beforeAll(async () => {
  database = await TestDatabase.migrated()
  pool = new ConnectionPool(database.postgres, 2)
})

afterAll(async () => {
  await pool.end()
  await database.drop()
})

afterEach(async () => {
  await database.pool.query('truncate pipeline_owner')
})

const OWNER: Owner = { group: 'shop', topic: 'events', namespace: 'default' }

const OTHERS: [string, Owner][] = [
  ['another group', { ...OWNER, group: 'other' }],
  ['another topic', { ...OWNER, topic: 'other' }],
  ['another namespace', { ...OWNER, namespace: 'other' }],
]

const owners = () => database.rows('select kafka_group, topic, namespace from pipeline_owner')

describe('a schema', () => {
  test('belongs to the first pipeline that claims it, which can claim it again', async () => {
    await claimSchema(database.db, OWNER)
    const before = await database.rows('select * from pipeline_owner')
    await claimSchema(database.db, OWNER)
    await checkOwner(database.db, OWNER)
    expect(await database.rows('select * from pipeline_owner')).toEqual(before)
    expect(await owners()).toEqual([{ kafka_group: 'shop', topic: 'events', namespace: 'default' }])
  })

  test.each(OTHERS)('is refused to %s, in one line that names both and says what to do', async (_, other) => {
    await claimSchema(database.db, OWNER)
    for (const attempt of [claimSchema, checkOwner]) {
      const error: unknown = await attempt(database.db, other).catch((e: unknown) => e)
      expect(error).toBeInstanceOf(WrongOwnerError)
      const { message } = error as Error
      expect(message).not.toContain('\n')
      for (const name of [OWNER, other].flatMap(({ group, topic, namespace }) => [group, topic, namespace]))
        expect(message).toContain(`"${name}"`)
      expect(message).toContain('POSTGRES_DB')
    }
    expect(await owners()).toEqual([{ kafka_group: 'shop', topic: 'events', namespace: 'default' }])
  })

  test('that several pipelines claim at once belongs to one of them', async () => {
    const groups = Array.from({ length: 8 }, (_, i) => `group-${i}`)
    const claims = await Promise.allSettled(
      groups.map(group => claimSchema(database.db, { ...OWNER, group })),
    )
    const winners = groups.filter((_, i) => claims[i]!.status === 'fulfilled')
    expect(winners).toHaveLength(1)
    expect(await owners()).toEqual([{ kafka_group: winners[0], topic: 'events', namespace: 'default' }])
  })

  test('without an owner is refused, and the message says how to claim it', async () => {
    const error: unknown = await checkOwner(database.db, OWNER).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(WrongOwnerError)
    expect((error as Error).message).toContain('web-traffic start')
  })
})

describe('the activities', () => {
  const settings: PipelineSettings = {
    group: OWNER.group,
    topic: OWNER.topic,
    windowSize: WINDOW,
    watermarkDelay: MINUTE,
    allowedLateness: 0,
    maxGroups: 250_000,
    idleTimeout: 10_000,
    maxFuture: MINUTE,
    flushInterval: 5_000,
    referrer: 'full',
  }

  const run = <T>(call: () => Promise<T>): Promise<T> => new MockActivityEnvironment().run(call)

  /** A call of each activity that reads or writes the schema. */
  function calls({ group, topic, namespace }: Owner): Record<string, () => Promise<unknown>> {
    const locate = () => '??'
    const activities = createActivities({
      config: { kafka: { brokers: [] }, postgres: database.postgres },
      postgres: pool,
      lookups: { polling: { locate }, recounting: { locate } },
      namespace,
      metrics: new PollerMetrics(noopMetricMeter),
    })
    const input = { settings: { ...settings, group, topic }, start: T0 }
    const counts = columns(['a.example', '', 'DE', 1])
    const delta = { partition: 0, from: 5, basis: null, first: 5, last: 5, hits: 1, ...counts }
    const applied = [{ partition: 0, from: 0, basis: null, last: 4 }]
    const closed = { revision: 1, status: 'closed', hits: 1 } as const
    const exceptions = { partition: 0, from: 0, late: [], rejected: { x: 1 }, samples: [] }
    return {
      openWindow: () => run(() => activities.openWindow(input)),
      writeWindow: () => run(() => activities.writeWindow({ ...input, ...closed, counts, applied })),
      stagePiece: () =>
        run(() => activities.stagePiece({ ...input, chain: 'a', number: 1, counts: [counts] })),
      recordClosed: () => run(() => activities.recordClosed({ ...input, deltas: [delta] })),
      recordExceptions: () =>
        run(() => activities.recordExceptions({ settings: input.settings, ranges: [exceptions] })),
    }
  }

  test('of the owner can read and write', async () => {
    await claimSchema(database.db, OWNER)
    const { openWindow, writeWindow, recordClosed, recordExceptions } = calls(OWNER)
    expect(await openWindow!()).toBeNull()
    expect(await writeWindow!()).toEqual({ written: true, groups: 1, otherHits: 0 })
    expect(await openWindow!()).toMatchObject({ revision: 1 })
    expect(await recordClosed!()).toMatchObject({ lateHits: 1 })
    expect(await recordExceptions!()).toBe(1)
    expect(await recordExceptions!()).toBe(0)
  })

  test.each([...OTHERS, ['the owner if the schema has none', OWNER] as [string, Owner]])(
    'of %s are refused and write nothing',
    async (who, owner) => {
      if (!who.startsWith('the owner')) await claimSchema(database.db, OWNER)
      const before = await database.contents()
      for (const call of Object.values(calls(owner)))
        await expect(call()).rejects.toMatchObject({ type: 'PostgresFailure', nonRetryable: true })
      expect(await database.contents()).toEqual(before)
    },
  )
})
