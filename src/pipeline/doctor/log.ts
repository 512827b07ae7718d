import type { Config } from '../../config'
import type { LedgerState } from '../../core/window/ledger'
import {
  endsTooSoon,
  fingerprintOf,
  isSameRecord,
  otherRecord,
  type LogFingerprint,
} from '../../core/window/log-fingerprint'
import { UserError } from '../../errors'
import { topicOffsets, withAdmin, type PartitionOffsets } from '../../kafka/client'
import { kafkaFailure } from '../../kafka/failures'
import { RangeGoneError, readRanges, type LogRange } from '../../kafka/range-reader'
import { Pipeline } from '../pipeline'
import { withTemporal } from '../../temporal/connection'
import type { Check, Findings } from './finding'

/** Each fetch asks for all partitions that are read: so many bound what the answers hold. */
const PARTITIONS_AT_ONCE = 32
/** For all partitions together, ms. */
const READ_WITHIN = 20_000

interface FingerprintRange extends LogRange {
  expected: LogFingerprint
}

/** Whether each partition's log is still the one that the pipeline has read. */
export function checkLog(config: Config): Check {
  return async findings => {
    const state = await stateToCheck(config)
    if (state) await checkPartitions(config, state.partitions, state.offsets, findings)
  }
}

/** Undefined where there is no pipeline, or a server or worker does not answer: other checks say so. */
async function stateToCheck(
  config: Config,
): Promise<{ partitions: LedgerState['partitions']; offsets: PartitionOffsets[] } | undefined> {
  const { topic } = config.settings
  try {
    const status = await withTemporal(client => new Pipeline(client, config).status())
    if (status?.settings.topic !== topic) return undefined
    const offsets = await withAdmin(config.kafka, admin => topicOffsets(admin, topic))
    return { partitions: status.ledger.partitions, offsets }
  } catch (error) {
    if (error instanceof UserError) return undefined
    throw error
  }
}

async function checkPartitions(
  config: Config,
  partitions: LedgerState['partitions'],
  offsets: PartitionOffsets[],
  findings: Findings,
): Promise<void> {
  const { topic } = config.settings
  const ranges: FingerprintRange[] = []
  for (const [name, { position, fingerprint, accepted }] of Object.entries(partitions)) {
    const partition = Number(name)
    const { low, high } = offsets[partition] ?? { low: 0, high: 0 }
    if (position > high) {
      if (!accepted) findings.fail(endsTooSoon({ topic, partition, position }, high))
      else
        findings.warn(
          `Partition ${partition} of "${topic}" was accepted and ends at offset ${high}: nothing of it is counted ` +
            `until it has grown to offset ${position}.`,
        )
    } else if (fingerprint && fingerprint.offset >= low) {
      const { offset } = fingerprint
      ranges.push({ partition, from: offset, to: offset + 1, expected: fingerprint })
    }
  }
  const others = await readOthers(config, ranges)
  for (const { partition, expected, found } of others) {
    const { position } = partitions[partition]!
    findings.fail(otherRecord({ topic, partition, position }, expected, found))
  }
  const compared = ranges.length
  if (compared > 0 && others.length === 0)
    findings.ok(`The last counted record is where it was, in ${compared} of ${offsets.length} partitions.`)
}

interface OtherRecord {
  partition: number
  expected: LogFingerprint
  found: LogFingerprint
}

/** The partitions that have another record at the offset. */
async function readOthers({ kafka, settings }: Config, ranges: FingerprintRange[]): Promise<OtherRecord[]> {
  const { topic, group } = settings
  const others: OtherRecord[] = []
  const signal = AbortSignal.timeout(READ_WITHIN)
  for (let i = 0; i < ranges.length; i += PARTITIONS_AT_ONCE) {
    const reading = readRanges(ranges.slice(i, i + PARTITIONS_AT_ONCE), {
      kafka,
      topic,
      group: `${group}-doctor`,
      signal,
      onRecords: ({ partition, expected }, records) => {
        const record = records.find(({ offset }) => offset === expected.offset)
        const found = record && fingerprintOf(record)
        if (found && !isSameRecord(found, expected)) others.push({ partition, expected, found })
      },
    })
    await reading.catch(async (error: unknown) => {
      if (signal.aborted)
        throw new UserError(
          `"${topic}" could not be read within ${READ_WITHIN / 1_000} s: try again when Kafka is less busy.`,
        )
      // Retention has removed records meanwhile, and with them what was to be compared.
      if (error instanceof RangeGoneError) return
      throw new UserError((await kafkaFailure(error, kafka)) ?? `"${topic}" cannot be read: ${String(error)}`)
    })
  }
  return others.sort((a, b) => a.partition - b.partition)
}
