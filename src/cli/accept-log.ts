import { Command, InvalidArgumentError } from 'commander'
import { loadConfig, type Config } from '../config'
import type { AcceptedLog } from '../core/window/protocol'
import { UserError } from '../errors'
import { topicOffsets, withAdmin, type PartitionOffsets } from '../kafka/client'
import { PipelineClient } from '../pipeline/pipeline-client'
import { withTemporal } from '../temporal/connection'

const DESCRIPTION =
  'go on reading a topic that was deleted and re-created, or whose records Kafka lost: each partition goes on at the ' +
  'offset that was reached, and the records of the new log before it are never counted. To count them all, start ' +
  'another pipeline with its own KAFKA_GROUP and POSTGRES_DB instead'

export function acceptLogCommand(): Command {
  return new Command('accept-log')
    .description(DESCRIPTION)
    .option('--partition <n>', 'only this partition (default: all of them)', partitionNumber)
    .action(async ({ partition }: { partition?: number }) => {
      const config = loadConfig()
      for (const line of await acceptLog(config, partition)) console.log(line)
    })
}

function partitionNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('It must be the number of a partition.')
  return Number(text)
}

/** What was accepted, a line for each partition. */
async function acceptLog(config: Config, partition: number | undefined): Promise<string[]> {
  const { topic, group } = config.settings
  return withTemporal(async client => {
    const pipeline = new PipelineClient(client, config)
    const { ledger } = await pipeline.requireStatus()
    if (partition !== undefined && !ledger.partitions[partition])
      throw new UserError(`"${group}" has read nothing of partition ${partition} of "${topic}" yet.`)
    const offsets = await withAdmin(config.kafka, admin => topicOffsets(admin, topic))
    const accepted = await pipeline.acceptLog(partition)
    if (accepted.length === 0) return [`"${group}" has read nothing of "${topic}" yet.`]
    return accepted.map(log => describe(log, topic, offsets))
  })
}

function describe(
  { partition, position, announcedTo }: AcceptedLog,
  topic: string,
  offsets: PartitionOffsets[],
): string {
  const high = offsets[partition]?.high ?? 0
  const waits =
    high < position ? ` The log ends at offset ${high}; nothing is counted until it has grown to there.` : ''
  const sent =
    announcedTo === null
      ? ''
      : ` Windows that have counts of the old log up to offset ${announcedTo} keep them instead of the new ones.`
  return `Accepted partition ${partition} of "${topic}": reading goes on at offset ${position}.${waits}${sent}`
}
