import type { Client } from '@temporalio/client'
import type { Config } from '../config'
import type { AcceptedLog } from '../core/window/protocol'
import { UserError } from '../errors'
import { topicOffsets, withAdmin } from '../kafka/client'
import { PipelineClient } from './pipeline-client'

export interface AcceptedPartition extends AcceptedLog {
  /** The end of the partition's current log. */
  end: number
}

/**
 * Accepts the current log of a partition, or of all that were read, in place of the recorded one.
 *
 * @throws UserError if nothing of the partition was read yet
 */
export async function acceptLog(
  client: Client,
  config: Config,
  partition: number | undefined,
): Promise<AcceptedPartition[]> {
  const { topic, group } = config.settings
  const pipeline = new PipelineClient(client, config)
  const { ledger } = await pipeline.requireStatus()
  if (partition !== undefined && !ledger.partitions[partition])
    throw new UserError(`"${group}" has not read partition ${partition} of "${topic}" yet.`)
  const offsets = await withAdmin(config.kafka, admin => topicOffsets(admin, topic))
  const accepted = await pipeline.acceptLog(partition)
  return accepted.map(log => ({ ...log, end: offsets[log.partition]?.high ?? 0 }))
}
