import { ApplicationFailure, heartbeat } from '@temporalio/activity'
import type { Config, PostgresConfig } from '../config'
import type { PipelineSettings } from '../core/settings'
import type { LocateCountry } from '../geo/country'
import type { RemoteLookup } from '../geo/remote-lookup'
import type { PollerMetrics } from '../metrics/poller-metrics'
import type { Db } from '../postgres/database'
import { postgresFailure } from '../postgres/failures'
import { findWindow } from '../postgres/open-window'
import { checkOwner } from '../postgres/owner'
import { publishWindow } from '../postgres/publish-window'
import { recordClosed, recordExceptions } from '../postgres/record-exceptions'
import { stagePiece } from '../postgres/staged-pieces'
import { pollKafka } from './poll-kafka'
import { nextBatch, replayWindows, verifyWindows } from './replay'
import type { Activities } from './types'

const HEARTBEAT_EVERY = 2_000

export interface Connections {
  config: Pick<Config, 'brokers' | 'postgres'>
  db: Db
  locate: LocateCountry
  /** Where countries come from a service: it has to be asked before `locate` knows an address. */
  remote?: RemoteLookup
  namespace: string
  metrics: PollerMetrics
}

/** The activities, over the connections of one worker process. */
export function createActivities({
  config,
  db,
  locate,
  remote,
  namespace,
  metrics,
}: Connections): Activities {
  const asOwner = <T>({ group, topic }: PipelineSettings, use: (report: Report) => Promise<T>) =>
    beating(async report => {
      try {
        await checkOwner(db, { group, topic, namespace })
        return await use(report)
      } catch (error) {
        throw inSight(error, config.postgres)
      }
    })
  const recounting: typeof asOwner = (settings, use) => {
    if (!remote) return asOwner(settings, use)
    const message = 'replay and verify do not ask a look-up service yet: they need GEO_PROVIDER=mmdb.'
    throw ApplicationFailure.nonRetryable(message)
  }
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
      asOwner(settings, () => recordClosed(db, { windowSize: settings.windowSize, ...closed })),
    recordExceptions: ({ settings, ranges }) =>
      asOwner(settings, async () => {
        let recorded = 0
        for (const range of ranges)
          if (await recordExceptions(db, settings.topic, settings.windowSize, range)) recorded++
        return recorded
      }),
    pollKafka: input => pollKafka(input, config.brokers, metrics, locate, remote),
    selectWindows: ({ settings, ...selection }) => asOwner(settings, () => nextBatch(db, selection)),
    replayWindows: input =>
      recounting(input.settings, report => replayWindows(input, { config, db, locate, report })),
    verifyWindows: input =>
      recounting(input.settings, report => verifyWindows(input, { config, db, locate, report })),
  }
}

/** What the Web UI shows of a failure of Postgres, and whether Temporal tries again by itself. */
function inSight(error: unknown, postgres: PostgresConfig): unknown {
  const failure = postgresFailure(error, postgres)
  if (!failure) return error
  const { message, lasting } = failure
  return ApplicationFailure.create({ message, type: 'PostgresFailure', nonRetryable: lasting })
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
