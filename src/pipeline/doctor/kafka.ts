import { ConfigResourceTypes, type Admin } from 'kafkajs'
import type { Config } from '../../config'
import { formatDuration } from '../../core/duration'
import type { PipelineSettings } from '../../core/settings'
import { topicOffsets, withAdmin } from '../../kafka/client'
import type { Check, Findings } from './finding'

const DAY = 86_400_000
const YEAR = 365 * DAY

export function checkKafka({ kafka, settings, pollers }: Config): Check {
  const { topic } = settings
  return findings =>
    withAdmin(kafka, async admin => {
      findings.ok(`A broker answers at ${kafka.brokers.join(',')}, ${kafka.tls ? 'by TLS' : 'without TLS'}.`)
      if (kafka.sasl?.mechanism === 'plain' && !kafka.tls)
        findings.warn(
          'The password goes to Kafka as it is: set KAFKA_TLS=true, or a scram KAFKA_SASL_MECHANISM.',
        )
      const partitions = (await topicOffsets(admin, topic)).length
      findings.check(
        partitions < pollers,
        `"${topic}" has ${partitions} partitions for ${pollers} pollers: the others have nothing to read. Add partitions, or lower POLLERS.`,
        `"${topic}" has ${partitions} partitions.`,
      )
      await checkTopic(admin, settings, findings)
    })
}

async function checkTopic(
  admin: Admin,
  { topic, windowSize, maxFuture }: PipelineSettings,
  findings: Findings,
): Promise<void> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
  })
  const entries = new Map(
    resources[0]?.configEntries.map(({ configName, configValue }) => [configName, configValue]),
  )
  const retention = Number(entries.get('retention.ms') ?? -1)
  const kept = retention < 0 ? 'for ever' : `for ${formatDuration(retention)}`
  findings.check(
    retention >= 0 && retention < DAY,
    `Kafka keeps records ${kept}: what is not read by then is lost, and cannot be replayed. Raise retention.ms of "${topic}".`,
    `Kafka keeps records ${kept}.`,
  )
  findings.check(
    (entries.get('cleanup.policy') ?? 'delete').includes('compact'),
    `"${topic}" is compacted, which removes records one by one: set cleanup.policy to delete.`,
    `"${topic}" is not compacted.`,
  )
  if (entries.get('message.timestamp.type') === 'LogAppendTime') {
    findings.ok("Records bear the broker's time: MAX_FUTURE is held against that.")
    return
  }
  // A broker before 3.6 has no bound, and another's default may be the largest number there is.
  const bound = Number(entries.get('message.timestamp.after.max.ms') ?? Infinity)
  const ahead = bound > YEAR ? 'by any time' : `by up to ${formatDuration(bound)}`
  findings.check(
    bound > windowSize,
    `Records of "${topic}" bear their producers' time (CreateTime), ahead ${ahead}: one producer with a wrong clock makes ` +
      `everybody's events late for as long. Set message.timestamp.type=LogAppendTime, or ` +
      `message.timestamp.after.max.ms=${maxFuture}.`,
    `Records bear their producers' time (CreateTime), ahead ${ahead}: MAX_FUTURE is held against that.`,
  )
}
