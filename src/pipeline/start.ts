import { parseEventTime } from '../core/event/event-time'
import { topicOffsets, withAdmin } from '../kafka/client'
import { claimSchema, hasCounted, isClaimed } from '../postgres/owner'
import { requireSearchAttributes } from '../temporal/search-attributes'
import { temporalConfig, withTemporal } from '../temporal/connection'
import type { Config } from '../config'
import { withDatabase } from './database'
import { UserError } from '../errors'
import { checkSettings, ledgerGone, Pipeline } from './pipeline'
import { scheduleMaintenance } from './maintenance'
import { counted } from '../core/numbers'

/** Starts or resumes the configured pipeline, and says in one line what it did. */
export async function startPipeline(config: Config, pollers: number, from: string): Promise<string> {
  const { settings } = config
  const startPositions = await findStartPositions(config, from)
  return withTemporal(async client => {
    const pipeline = new Pipeline(client, config)
    const existing = await pipeline.status()
    if (existing) checkSettings(existing.settings, settings)
    await requireSearchAttributes(client)
    await withDatabase(config, async db => {
      const { namespace } = temporalConfig()
      const owner = { group: settings.group, topic: settings.topic, namespace }
      // A pipeline that exists has claimed its schema: one without an owner is another, and would get a part of it.
      if (existing && !(await isClaimed(db))) throw new UserError(otherSchema(config))
      // A new ledger would cut ranges anew: what was counted of them already would not be recognised.
      if (!existing && ((await pipeline.hasUnderWay()) || (await hasCounted(db))))
        throw new UserError(ledgerGone(settings.group))
      await claimSchema(db, owner)
    })
    const created = await pipeline.create(pollers, startPositions)
    await scheduleMaintenance(client, config, settings)
    if (created)
      return `Started "${settings.group}" on topic "${settings.topic}" with ${counted(pollers, 'poller')}, from ${from}.`
    await pipeline.scale(pollers)
    return `"${settings.group}" goes on from where it was, with ${counted(pollers, 'poller')}.`
  })
}

function otherSchema({ settings, postgres }: Config): string {
  return (
    `The pipeline "${settings.group}" runs already and writes to another database than "${postgres.database}": ` +
    'set POSTGRES_URL and POSTGRES_DB as they were, or start another pipeline with a KAFKA_GROUP of its own.'
  )
}

/** Offsets where the partitions begin; empty for the earliest, which each partition has by itself. */
async function findStartPositions(
  { kafka, settings }: Config,
  from: string,
): Promise<Record<number, number>> {
  const time = from === 'earliest' || from === 'latest' ? undefined : parseEventTime(from)
  if (from !== 'earliest' && from !== 'latest' && time === undefined)
    throw new UserError(
      `--from: "${from}" is neither earliest, latest nor a time such as 2026-01-31T12:00:00Z.`,
    )
  return withAdmin(kafka, async admin => {
    const offsets = await topicOffsets(admin, settings.topic)
    if (from === 'latest') return Object.fromEntries(offsets.map(({ partition, high }) => [partition, high]))
    if (time === undefined) return {}
    const atTime = await admin.fetchTopicOffsetsByTimestamp(settings.topic, time)
    return Object.fromEntries(atTime.map(({ partition, offset }) => [partition, Number(offset)]))
  })
}
