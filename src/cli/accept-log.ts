import { Command } from 'commander'
import { loadConfig } from '../config'
import { acceptLog, type AcceptedPartition } from '../pipeline/accept-log'
import { withTemporal } from '../temporal/connection'
import { whole } from './options'

const DESCRIPTION =
  'Keep reading after the topic was re-created or Kafka lost records. Each partition continues at the offset it had ' +
  'reached; records of the new log before that offset are never counted. To count all of them, start another pipeline ' +
  'with its own KAFKA_GROUP and POSTGRES_DB instead.'

export function acceptLogCommand(): Command {
  return new Command('accept-log')
    .summary('keep reading a topic that was re-created or has lost records')
    .description(DESCRIPTION)
    .option('--partition <n>', 'only this partition (default: all)', whole(0, 999_999))
    .action(async ({ partition }: { partition?: number }) => {
      const config = loadConfig()
      const { group, topic } = config.settings
      const accepted = await withTemporal(client => acceptLog(client, config, partition))
      if (accepted.length === 0) console.log(`"${group}" has not read "${topic}" yet.`)
      for (const log of accepted) console.log(describe(log, topic))
    })
}

function describe({ partition, position, announcedTo, end }: AcceptedPartition, topic: string): string {
  const waits =
    end < position ? ` The log ends at offset ${end}; counting resumes once it reaches ${position}.` : ''
  const sent =
    announcedTo === null
      ? ''
      : ` Windows that have counts of the old log up to offset ${announcedTo} keep them instead of the new ones.`
  return `Accepted partition ${partition} of "${topic}": reading continues at offset ${position}.${waits}${sent}`
}
