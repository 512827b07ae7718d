import { Context, heartbeat } from '@temporalio/activity'
import type { Config } from '../config'
import type { Activities } from '../contract/activities'
import type { PipelineSettings } from '../core/settings'
import type { Lookups } from '../geo/open-lookup'
import type { Db } from '../postgres/database'
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
  db: Db
  lookups: Lookups
  namespace: string
  metrics: PollerMetrics
}

export function createActivities({ config, db, lookups, namespace, metrics }: Connections): Activities {
  const dependencies = (report: Report): RecountDependencies => {
    const { client, cancellationSignal: signal } = Context.current()
    return { config, db, client, lookup: lookups.recounting, signal, report }
  }
  /** Runs an activity on the schema, after checking that the schema belongs to its pipeline. */
  const asOwner = <T>(
    { settings: { group, topic } }: { settings: PipelineSettings },
    use: (report: Report) => Promise<T>,
  ) =>
    withHeartbeat(async report => {
      try {
        await checkOwner(db, { group, topic, namespace })
        return await use(report)
      } catch (error) {
        throw await toApplicationFailure(error, config)
      }
    })
  return {
    openWindow: input => asOwner(input, async () => (await findWindow(db, input.start)) ?? null),
    writeWindow: input =>
      asOwner(input, () => {
        const { settings, ...result } = input
        const { windowSize, maxGroups } = settings
        return publishWindow(db, { end: result.start + windowSize, maxGroups, ...result })
      }),
    stagePiece: input => asOwner(input, () => stagePiece(db, input, input.number, input.counts)),
    recordClosed: input =>
      asOwner(input, () => {
        const { settings, ...closed } = input
        return recordClosed(db, { topic: settings.topic, windowSize: settings.windowSize, ...closed })
      }),
    recordExceptions: input =>
      asOwner(input, async () => {
        const { topic, windowSize } = input.settings
        let recorded = 0
        for (const range of input.ranges) if (await recordExceptions(db, topic, windowSize, range)) recorded++
        return recorded
      }),
    pollKafka: input => pollKafka(input, { config, db, namespace, metrics, lookup: lookups.polling }),
    selectWindows: input => asOwner(input, () => nextBatch(db, input)),
    replayWindows: input => asOwner(input, report => replayWindows(input, dependencies(report))),
    verifyWindows: input => asOwner(input, report => verifyWindows(input, dependencies(report))),
    findMissing: input => asOwner(input, report => findMissing(input, dependencies(report))),
    findUnsettled: input => asOwner(input, report => findUnsettled(input, dependencies(report))),
    repairWindow: input => asOwner(input, report => repairWindow(input, dependencies(report))),
    recoverWrites: input => asOwner(input, report => recoverWrites(input, dependencies(report))),
    maintainTables: input =>
      asOwner(input, report =>
        maintain(db, { now: Date.now(), retention: input.retention ?? undefined }, report),
      ),
  }
}

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
