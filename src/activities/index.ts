import { ApplicationFailure, heartbeat } from '@temporalio/activity'
import type { Config } from '../config'
import type { PipelineSettings } from '../core/settings'
import type { LocateCountry } from '../geo/country'
import type { RemoteLookup } from '../geo/remote-lookup'
import { kafkaFailure } from '../kafka/failures'
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
  config: Pick<Config, 'kafka' | 'postgres'>
  db: Db
  locate: LocateCountry
  /** Where countries come from a service: it has to be asked before `locate` knows an address. */
  remote?: RemoteLookup
  namespace: string
}

/** The activities, over the connections of one worker process. */
export function createActivities({ config, db, locate, remote, namespace }: Connections): Activities {
  const asOwner = <T>({ group, topic }: PipelineSettings, use: (report: Report) => Promise<T>) =>
    beating(async report => {
      try {
        await checkOwner(db, { group, topic, namespace })
        return await use(report)
      } catch (error) {
        throw await inSight(error, config)
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
    pollKafka: input => pollKafka(input, config.kafka, locate, remote),
    selectWindows: ({ settings, ...selection }) => asOwner(settings, () => nextBatch(db, selection)),
    replayWindows: input =>
      recounting(input.settings, report => replayWindows(input, { config, db, locate, report })),
    verifyWindows: input =>
      recounting(input.settings, report => verifyWindows(input, { config, db, locate, report })),
  }
}

/** What the Web UI shows of a failure of Kafka or Postgres, and whether Temporal tries again by itself. */
async function inSight(error: unknown, { postgres, kafka }: Connections['config']): Promise<unknown> {
  const unread = await kafkaFailure(error, kafka)
  if (unread !== undefined) return ApplicationFailure.create({ message: unread, type: 'KafkaFailure' })
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
