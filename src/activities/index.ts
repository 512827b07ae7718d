import { Context, heartbeat } from '@temporalio/activity'
import type { Config } from '../config'
import type { Activities } from '../contract/activities'
import type { PipelineSettings } from '../core/settings'
import type { Lookups } from '../geo/open-lookup'
import { LONG_LIMITS, WRITE_LIMITS, type ConnectionPool, type Limits } from '../postgres/connection-pool'
import { databaseOf, type Db } from '../postgres/database'
import { maintain } from '../postgres/maintain'
import { findWindow } from '../postgres/open-window'
import { checkOwner } from '../postgres/owner'
import { publishWindow } from '../postgres/publish-window'
import { recordClosed } from '../postgres/record-closed'
import { recordExceptions } from '../postgres/record-exceptions'
import { stagePiece } from '../postgres/staged-pieces'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import { pollKafka } from './poll-kafka'
import type { RecountDependencies } from './recount'
import { findMissing, recoverWrites } from './recover'
import { repairWindow } from './repair'
import { findUnsettled, nextBatch, replayWindows, verifyWindows } from './replay'
import { toApplicationFailure } from './to-application-failure'

const HEARTBEAT_INTERVAL = 2_000

export interface Connections {
  config: Pick<Config, 'kafka' | 'postgres'>
  postgres: ConnectionPool
  lookups: Lookups
  namespace: string
  metrics: PollerMetrics
}

export function createActivities({ config, postgres, lookups, namespace, metrics }: Connections): Activities {
  /**
   * Runs an activity on the schema, after checking that the schema belongs to its pipeline. When Temporal cancels the
   * activity, or has given it up, its connections are cut, so it holds none and locks nothing.
   */
  const asOwner = <T>(
    { settings: { group, topic } }: { settings: PipelineSettings },
    limits: Limits,
    use: (db: Db, report: Report) => Promise<T>,
  ) =>
    withHeartbeat(async report => {
      const db = databaseOf(postgres, { limits, signal: Context.current().cancellationSignal })
      try {
        await checkOwner(db, { group, topic, namespace })
        return await use(db, report)
      } catch (error) {
        throw await toApplicationFailure(error, config)
      }
    })
  const write = <T>(input: { settings: PipelineSettings }, use: (db: Db) => Promise<T>) =>
    asOwner(input, WRITE_LIMITS, use)
  const recount = <T>(
    input: { settings: PipelineSettings },
    use: (dependencies: RecountDependencies) => Promise<T>,
  ) =>
    asOwner(input, LONG_LIMITS, (db, report) => {
      const { client, cancellationSignal: signal } = Context.current()
      return use({ config, db, client, lookup: lookups.recounting, signal, report })
    })
  const staging = databaseOf(postgres, { limits: WRITE_LIMITS })
  return {
    openWindow: input => write(input, async db => (await findWindow(db, input.start)) ?? null),
    writeWindow: input =>
      write(input, db => {
        const { settings, ...result } = input
        const { windowSize, maxGroups } = settings
        return publishWindow(db, { end: result.start + windowSize, maxGroups, ...result })
      }),
    stagePiece: input => write(input, db => stagePiece(db, input, input.number, input.counts)),
    recordClosed: input =>
      write(input, db => {
        const { settings, ...closed } = input
        return recordClosed(db, { topic: settings.topic, windowSize: settings.windowSize, ...closed })
      }),
    recordExceptions: input =>
      write(input, async db => {
        const { topic, windowSize } = input.settings
        let recorded = 0
        for (const range of input.ranges) if (await recordExceptions(db, topic, windowSize, range)) recorded++
        return recorded
      }),
    pollKafka: input =>
      pollKafka(input, { config, db: staging, namespace, metrics, lookup: lookups.polling }),
    selectWindows: input => recount(input, ({ db }) => nextBatch(db, input)),
    replayWindows: input => recount(input, dependencies => replayWindows(input, dependencies)),
    verifyWindows: input => recount(input, dependencies => verifyWindows(input, dependencies)),
    findMissing: input => recount(input, dependencies => findMissing(input, dependencies)),
    findUnsettled: input => recount(input, dependencies => findUnsettled(input, scheduledAt(), dependencies)),
    repairWindow: input => recount(input, dependencies => repairWindow(input, dependencies)),
    recoverWrites: input => recount(input, dependencies => recoverWrites(input, dependencies)),
    maintainTables: input =>
      asOwner(input, LONG_LIMITS, (db, report) =>
        maintain(db, { now: scheduledAt(), retention: input.retention ?? undefined }, report),
      ),
  }
}

/** By Temporal's clock, when the attempt was scheduled: the clock of this machine may be wrong. Epoch ms. */
const scheduledAt = () => Context.current().info.currentAttemptScheduledTimestampMs

type Report = RecountDependencies['report']

/** Heartbeats in the background, so that a killed worker is noticed however long its write would take. */
async function withHeartbeat<T>(run: (report: Report) => Promise<T>): Promise<T> {
  let progress: object | undefined
  const timer = setInterval(() => heartbeat(progress), HEARTBEAT_INTERVAL)
  try {
    return await run(latest => {
      progress = latest
    })
  } finally {
    clearInterval(timer)
  }
}
