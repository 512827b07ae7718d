import type { Config } from '../../config'
import { formatDuration } from '../../core/duration'
import { counted } from '../../core/numbers'
import type { PipelineSettings } from '../../core/settings'
import { topicOffsets, withAdmin } from '../../kafka/client'
import { READABLE_COMPRESSION } from '../../kafka/codecs'
import { isCompacted, topicConfig } from '../../kafka/topic-config'
import type { Check, Findings } from './finding'

const DAY = 86_400_000
const YEAR = 365 * DAY

export function checkKafka({ kafka, settings, pollers }: Config): Check {
  const { topic } = settings
  return findings =>
    withAdmin(kafka, async admin => {
      findings.ok(`Kafka answers at ${kafka.brokers.join(',')}, ${kafka.tls ? 'with TLS' : 'without TLS'}.`)
      if (kafka.sasl?.mechanism === 'plain' && !kafka.tls)
        findings.warn(
          'The password is sent to Kafka in plain text: set KAFKA_TLS=true, or a scram KAFKA_SASL_MECHANISM.',
        )
      const { length } = await topicOffsets(admin, topic)
      const partitions = `"${topic}" has ${counted(length, 'partition')}`
      findings.check(
        length < pollers,
        `${partitions} for ${counted(pollers, 'poller')}: some pollers have nothing to read. Add partitions, or lower POLLERS.`,
        `${partitions}.`,
      )
      const entries = await topicConfig(admin, topic)
      checkRetention(entries, topic, findings)
      checkTimestamps(entries, settings, findings)
      checkCompression(entries, topic, findings)
    })
}

function checkRetention(entries: Map<string, string>, topic: string, findings: Findings): void {
  const retention = Number(entries.get('retention.ms') ?? -1)
  const kept = retention < 0 ? 'forever' : `for ${formatDuration(retention)}`
  findings.check(
    retention >= 0 && retention < DAY,
    `Kafka keeps records ${kept}: after that, unread records are lost and windows cannot be replayed. Raise retention.ms of "${topic}".`,
    `Kafka keeps records ${kept}.`,
  )
  findings.check(
    isCompacted(entries),
    `"${topic}" is compacted: records that Kafka removes before they are read are not counted as events, but as ` +
      '"removed_by_compaction", and windows cannot be replayed. Set cleanup.policy to delete.',
    `"${topic}" is not compacted.`,
  )
}

function checkCompression(entries: Map<string, string>, topic: string, findings: Findings): void {
  const type = entries.get('compression.type') ?? 'producer'
  const batches = `The batches of "${topic}" have compression.type=${type}`
  findings.check(
    !READABLE_COMPRESSION.includes(type),
    `${batches}, which cannot be read: set one of ${READABLE_COMPRESSION.join(', ')}.`,
    `${batches}: they can be read.`,
  )
}

function checkTimestamps(
  entries: Map<string, string>,
  { topic, windowSize, maxFuture }: PipelineSettings,
  findings: Findings,
): void {
  if (entries.get('message.timestamp.type') === 'LogAppendTime')
    return findings.ok("Records have the broker's timestamp, and MAX_FUTURE is relative to it.")
  // A broker before 3.6 has no bound, and later ones may have the largest number there is.
  const bound = Number(entries.get('message.timestamp.after.max.ms') ?? Infinity)
  const ahead = bound > YEAR ? 'may be ahead without a limit' : `may be up to ${formatDuration(bound)} ahead`
  const timestamps = `Records of "${topic}" have their producer's timestamp (CreateTime), which ${ahead}`
  findings.check(
    bound > windowSize,
    `${timestamps}: a producer with a wrong clock makes the events of all others late for that long. ` +
      `Set message.timestamp.type=LogAppendTime, or message.timestamp.after.max.ms=${maxFuture}.`,
    `${timestamps}. MAX_FUTURE is relative to it.`,
  )
}
