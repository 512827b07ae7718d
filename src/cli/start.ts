import { Command, InvalidArgumentError } from 'commander'
import { parseEventTime } from '../core/event-time'
import { topicOffsets, withAdmin } from '../kafka/client'
import { claimSchema, hasCounted, isClaimed } from '../postgres/owner'
import { requireSearchAttributes } from '../search-attributes'
import { temporalConfig, withTemporal } from '../temporal'
import { loadConfig, type Config } from '../config'
import { withDatabase } from './database'
import { UserError } from '../errors'
import type { IngestStatus } from '../workflows/messages'
import { scheduleMaintenance } from './maintain'
import { checkSettings, ledgerGone, Pipeline } from '../pipeline'

export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text))
    throw new InvalidArgumentError('It must be a whole number from 1 to 9999.')
  return Number(text)
}

export function startCommand(): Command {
  return new Command('start')
    .description('start the pipeline, or let it go on after a stop')
    .option('--pollers <n>', 'how many pollers read the topic (default: POLLERS, or 1)', wholeNumber)
    .option(
      '--from <position>',
      'where a new pipeline begins: earliest, latest, or a time such as 2026-01-31T12:00:00Z',
      'earliest',
    )
    .action(async (options: { pollers?: number; from: string }) => {
      const config = loadConfig()
      console.log(await startPipeline(config, options.pollers ?? config.pollers, options.from))
    })
}

export function stopCommand(): Command {
  return new Command('stop')
    .description('drain the pollers and stop reading; open windows stay open and go on at the next start')
    .action(() =>
      withRunning(async (pipeline, status) => {
        await pipeline.stop()
        const open = status.ledger.openWindows.length
        return `Stopped "${status.settings.group}"; ${open} windows were open and go on at the next start.`
      }),
    )
}

export function pauseCommand(): Command {
  return new Command('pause')
    .description(
      'drain the pollers and stop reading, until "resume" brings as many back; windows that are over still close',
    )
    .action(() =>
      withRunning(async (pipeline, { settings: { group } }) => {
        await pipeline.pause()
        return `Paused "${group}"; "web-traffic resume" lets it go on.`
      }),
    )
}

export function resumeCommand(): Command {
  return new Command('resume')
    .description('let a pipeline that was paused go on with as many pollers as before')
    .action(() =>
      withRunning(async (pipeline, { settings: { group } }) => {
        const pollers = await pipeline.resume()
        if (pollers === 0)
          throw new UserError(`"${group}" was stopped, not paused: let it go on with "web-traffic start".`)
        return `"${group}" goes on from where it was, with ${count(pollers)}.`
      }),
    )
}

export function scaleCommand(): Command {
  return new Command('scale')
    .description('read with so many pollers from now on; each needs a worker process')
    .argument('<pollers>', 'how many', wholeNumber)
    .action((pollers: number) =>
      withRunning(async (pipeline, { settings: { group } }) => {
        await pipeline.scale(pollers)
        return `"${group}" has ${count(pollers)} from now on.`
      }),
    )
}

/** Runs `use` with the configured pipeline, and prints what it did. */
async function withRunning(
  use: (pipeline: Pipeline, status: IngestStatus) => Promise<string>,
): Promise<void> {
  const config = loadConfig()
  await withTemporal(async client => {
    const pipeline = new Pipeline(client, config)
    console.log(await use(pipeline, await pipeline.requireStatus()))
  })
}

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
      return `Started "${settings.group}" on topic "${settings.topic}" with ${count(pollers)}, from ${from}.`
    await pipeline.scale(pollers)
    return `"${settings.group}" goes on from where it was, with ${count(pollers)}.`
  })
}

function otherSchema({ settings, postgres }: Config): string {
  return (
    `The pipeline "${settings.group}" runs already and writes to another database than "${postgres.database}": ` +
    'set POSTGRES_URL and POSTGRES_DB as they were, or start another pipeline with a KAFKA_GROUP of its own.'
  )
}

const count = (pollers: number) => `${pollers} poller${pollers === 1 ? '' : 's'}`

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
