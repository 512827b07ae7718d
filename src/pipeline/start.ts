import type { Client } from '@temporalio/client'
import { KafkaJSProtocolError, type Admin } from 'kafkajs'
import type { Config } from '../config'
import { formatDuration } from '../core/duration'
import { parseEventTime } from '../core/event/event-time'
import { counted } from '../core/numbers'
import type { PipelineSettings } from '../core/settings'
import { UserError } from '../errors'
import { topicOffsets, withAdmin } from '../kafka/client'
import { isCompacted, topicConfig } from '../kafka/topic-config'
import { claimSchema, hasCounted, isClaimed } from '../postgres/owner'
import { temporalConfig, withTemporal } from '../temporal/connection'
import { requireSearchAttributes } from '../temporal/search-attributes'
import { withDatabase } from './database'
import { scheduleMaintenance } from './maintenance'
import { ledgerGone, PipelineClient } from './pipeline-client'
import { hasUnderWay } from './visibility'

/**
 * Starts or resumes the configured pipeline; returns one line that says which.
 *
 * @param acceptCompaction whether a person has accepted that the topic is compacted
 */
export async function startPipeline(
  config: Config,
  pollers: number,
  from: string,
  acceptCompaction = false,
): Promise<string> {
  const { settings } = config
  const { group, topic } = settings
  const startPositions = await findStartPositions(config, from)
  if (!acceptCompaction) await refuseCompaction(config)
  return withTemporal(async client => {
    const pipeline = new PipelineClient(client, config)
    const existing = await pipeline.status()
    if (existing) checkSettings(existing.settings, settings)
    await requireSearchAttributes(client)
    await claimDatabase(client, config, existing !== undefined)
    const created = await pipeline.create(pollers, startPositions)
    await scheduleMaintenance(client, config, settings)
    if (created)
      return `Started "${group}" on topic "${topic}" with ${counted(pollers, 'poller')}, from ${from}.`
    await pipeline.scale(pollers)
    return `Resumed "${group}" with ${counted(pollers, 'poller')}.`
  })
}

async function claimDatabase(client: Client, config: Config, exists: boolean): Promise<void> {
  const { group, topic } = config.settings
  await withDatabase(config, async db => {
    // An existing pipeline has claimed its schema, so one without an owner is another schema.
    if (exists && !(await isClaimed(db))) throw new UserError(otherSchema(config))
    // A new ledger would cut other ranges, whose deltas windows would not recognise as repeats.
    if (!exists && ((await hasUnderWay(client, group)) || (await hasCounted(db))))
      throw new UserError(ledgerGone(group))
    await claimSchema(db, { group, topic, namespace: temporalConfig().namespace })
  })
}

function otherSchema({ settings, postgres }: Config): string {
  return (
    `The pipeline "${settings.group}" already runs and writes to another database than "${postgres.database}": ` +
    'restore POSTGRES_URL and POSTGRES_DB, or start another pipeline with its own KAFKA_GROUP.'
  )
}

/** @throws UserError that names each setting that differs from those the pipeline was started with */
function checkSettings(running: PipelineSettings, wanted: PipelineSettings): void {
  const differing = (Object.keys(wanted) as (keyof PipelineSettings)[]).filter(
    key => running[key] !== wanted[key],
  )
  if (differing.length === 0) return
  const show = (value: string | number) => (typeof value === 'number' ? formatDuration(value) : value)
  const named = differing.map(key => `${key} is ${show(running[key])}, not ${show(wanted[key])}`)
  throw new UserError(
    `The pipeline "${running.group}" keeps the settings it was started with: ${named.join('; ')}. ` +
      'Restore them, or start another pipeline with its own KAFKA_GROUP and POSTGRES_DB.',
  )
}

/** Start offsets by partition; empty for the earliest, which is the default of every partition. */
async function findStartPositions(
  { kafka, settings }: Config,
  from: string,
): Promise<Record<number, number>> {
  const time = from === 'earliest' || from === 'latest' ? undefined : parseEventTime(from)
  if (from !== 'earliest' && from !== 'latest' && time === undefined)
    throw new UserError(`--from: "${from}" is not earliest, latest or a time such as 2026-01-31T12:00:00Z.`)
  return withAdmin(kafka, async admin => {
    const offsets = await topicOffsets(admin, settings.topic)
    if (from === 'latest') return Object.fromEntries(offsets.map(({ partition, high }) => [partition, high]))
    if (time === undefined) return {}
    const atTime = await admin.fetchTopicOffsetsByTimestamp(settings.topic, time)
    return Object.fromEntries(atTime.map(({ partition, offset }) => [partition, Number(offset)]))
  })
}

/** @throws UserError if the topic is compacted */
async function refuseCompaction({ kafka, settings: { topic } }: Config): Promise<void> {
  if (await withAdmin(kafka, admin => isKnownAsCompacted(admin, topic)))
    throw new UserError(
      `The topic "${topic}" is compacted, so Kafka removes records, even unread ones: set its cleanup.policy to delete, ` +
        'or use --accept-compaction to count the unread ones as rejected (removed_by_compaction).',
    )
}

/** Without the permission to read the topic's settings, they are unknown. */
async function isKnownAsCompacted(admin: Admin, topic: string): Promise<boolean> {
  try {
    return isCompacted(await topicConfig(admin, topic))
  } catch (error) {
    if (error instanceof KafkaJSProtocolError && error.type === 'TOPIC_AUTHORIZATION_FAILED') return false
    throw error
  }
}
