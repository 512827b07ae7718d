import { Context, heartbeat } from '@temporalio/activity'
import type { Config } from '../config'
import type { PipelineSettings } from '../core/settings'
import type { Lookups } from '../geo/open-lookup'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import type { Db } from '../postgres/database'
import { maintain } from '../postgres/maintain'
import { findWindow } from '../postgres/open-window'
import { checkOwner } from '../postgres/owner'
import { publishWindow } from '../postgres/publish-window'
import { recordClosed } from '../postgres/record-closed'
import { recordExceptions } from '../postgres/record-exceptions'
import { stagePiece } from '../postgres/staged-pieces'
import { toApplicationFailure } from './to-application-failure'
import { pollKafka } from './poll-kafka'
import { findMissing, recoverWrites } from './recover'
import { repairWindow } from './repair'
import { findUnsettled, nextBatch, replayWindows, verifyWindows } from './replay'
import type { Activities } from '../contract/activities'

const HEARTBEAT_EVERY = 2_000

export interface Connections {
  config: Pick<Config, 'kafka' | 'postgres'>
  db: Db
  lookups: Lookups
  namespace: string
  metrics: PollerMetrics
}

/** The activities, over the connections of one worker process. */
export function createActivities({ config, db, lookups, namespace, metrics }: Connections): Activities {
  const asOwner = <T>({ group, topic }: PipelineSettings, use: (report: Report) => Promise<T>) =>
    beating(async report => {
      try {
        await checkOwner(db, { group, topic, namespace })
        return await use(report)
      } catch (error) {
        throw await toApplicationFailure(error, config)
      }
    })
  const lookup = lookups.recounting
  return {
    openWindow: ({ settings, start }) => asOwner(settings, async () => (await findWindow(db, start)) ?? null),
    writeWindow: ({ settings, start, ...result }) => {
      const { windowSize, maxGroups } = settings
      return asOwner(settings, () =>
        publishWindow(db, { start, end: start + windowSize, maxGroups, ...result }),
      )
    },
    stagePiece: ({ settings, number, counts, ...key }) =>
      asOwner(settings, () => stagePiece(db, key, number, counts)),
    recordClosed: ({ settings, ...closed }) =>
      asOwner(settings, () =>
        recordClosed(db, { topic: settings.topic, windowSize: settings.windowSize, ...closed }),
      ),
    recordExceptions: ({ settings, ranges }) =>
      asOwner(settings, async () => {
        let recorded = 0
        for (const range of ranges)
          if (await recordExceptions(db, settings.topic, settings.windowSize, range)) recorded++
        return recorded
      }),
    pollKafka: input => pollKafka(input, { config, db, namespace, metrics, lookup: lookups.polling }),
    selectWindows: ({ settings, ...selection }) => asOwner(settings, () => nextBatch(db, selection)),
    replayWindows: input =>
      asOwner(input.settings, report => replayWindows(input, { config, db, lookup, report })),
    verifyWindows: input =>
      asOwner(input.settings, report => verifyWindows(input, { config, db, lookup, report })),
    findMissing: input =>
      asOwner(input.settings, () => findMissing(input, { db, client: Context.current().client })),
    findUnsettled: input => asOwner(input.settings, () => findUnsettled(input, Context.current().client)),
    repairWindow: input => {
      const { client, cancellationSignal: signal } = Context.current()
      return asOwner(input.settings, report =>
        repairWindow(input, { config, db, client, lookup, signal, report }),
      )
    },
    recoverWrites: input => {
      const { client, cancellationSignal: signal } = Context.current()
      return asOwner(input.settings, report =>
        recoverWrites(input, { config, db, client, lookup, signal, report }),
      )
    },
    maintainTables: ({ settings, retention }) =>
      asOwner(settings, report =>
        maintain(db, { now: Date.now(), retention: retention ?? undefined }, report),
      ),
  }
}

/** How far an activity is, as its heartbeat shows it. */
export type Report = (progress: object) => void

/** However long a write may take, a worker that was killed at it is noticed within the heartbeat timeout. */
async function beating<T>(run: (report: Report) => Promise<T>): Promise<T> {
  let progress: object | undefined
  const beat = setInterval(() => heartbeat(progress), HEARTBEAT_EVERY)
  try {
    return await run(latest => {
      progress = latest
    })
  } finally {
    clearInterval(beat)
  }
}
