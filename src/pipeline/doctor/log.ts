import type { Config } from '../../config'
import {
  endsTooSoon,
  fingerprintOf,
  isSameRecord,
  otherRecord,
  type LogFingerprint,
} from '../../core/window/log-fingerprint'
import type { IngestStatus } from '../../contract/messages'
import { UserError } from '../../errors'
import { topicOffsets, withAdmin, type PartitionOffsets } from '../../kafka/client'
import { kafkaFailure } from '../../kafka/failures'
import { RangeGoneError, readRanges, type LogRange } from '../../kafka/range-reader'
import { PipelineClient } from '../pipeline-client'
import { withTemporal } from '../../temporal/connection'
import type { Check, Findings } from './finding'

/** Bounds the memory of a fetch, which reads all of its partitions at once. */
const PARTITIONS_AT_ONCE = 32
/** For all partitions together, ms. */
const READ_WITHIN = 20_000

interface FingerprintRange extends LogRange {
  position: number
  expected: LogFingerprint
}

/** Checks whether each partition's log is still the one that the pipeline has read. */
export function checkLog(config: Config): Check {
  return async findings => {
    const known = await stateToCheck(config)
    if (!known) return
    const ranges = checkEnds(known, findings)
    const { topic } = config.settings
    const others = await readOthers(config, ranges)
    for (const [{ partition, position, expected }, found] of others)
      findings.fail(otherRecord({ topic, partition, position }, expected, found))
    if (ranges.length > 0 && others.length === 0)
      findings.ok(
        `The last counted record is still in place, in ${ranges.length} of ${known.offsets.length} partitions.`,
      )
  }
}

interface ReadState {
  topic: string
  partitions: IngestStatus['ledger']['partitions']
  offsets: PartitionOffsets[]
}

/** Undefined if there is no pipeline, or if a server or worker does not answer, which other checks report. */
async function stateToCheck(config: Config): Promise<ReadState | undefined> {
  const { topic } = config.settings
  try {
    const status = await withTemporal(client => new PipelineClient(client, config).status())
    if (status?.settings.topic !== topic) return undefined
    const offsets = await withAdmin(config.kafka, admin => topicOffsets(admin, topic))
    return { topic, partitions: status.ledger.partitions, offsets }
  } catch (error) {
    if (error instanceof UserError) return undefined
    throw error
  }
}

/** Compares the ends of the partitions; returns the records that remain to be compared. */
function checkEnds({ topic, partitions, offsets }: ReadState, findings: Findings): FingerprintRange[] {
  const ranges: FingerprintRange[] = []
  for (const [name, { position, fingerprint, accepted }] of Object.entries(partitions)) {
    const partition = Number(name)
    const { low, high } = offsets[partition] ?? { low: 0, high: 0 }
    if (position > high && accepted)
      findings.warn(
        `Partition ${partition} of "${topic}" was accepted, but ends at offset ${high}: its records are not counted ` +
          `before it reaches offset ${position}.`,
      )
    else if (position > high) findings.fail(endsTooSoon({ topic, partition, position }, high))
    else if (fingerprint && fingerprint.offset >= low) {
      const { offset } = fingerprint
      ranges.push({ partition, position, from: offset, to: offset + 1, expected: fingerprint })
    }
  }
  return ranges
}

/** The ranges that have another record at the offset, with its fingerprint. */
async function readOthers(
  { kafka, settings: { topic, group } }: Config,
  ranges: FingerprintRange[],
): Promise<[FingerprintRange, LogFingerprint][]> {
  const others: [FingerprintRange, LogFingerprint][] = []
  const signal = AbortSignal.timeout(READ_WITHIN)
  for (let i = 0; i < ranges.length; i += PARTITIONS_AT_ONCE) {
    const reading = readRanges(ranges.slice(i, i + PARTITIONS_AT_ONCE), {
      kafka,
      topic,
      group: `${group}-doctor`,
      signal,
      onRecords: (range, records) => {
        const record = records.find(({ offset }) => offset === range.expected.offset)
        const found = record && fingerprintOf(record)
        if (found && !isSameRecord(found, range.expected)) others.push([range, found])
      },
    })
    await reading.catch(async (error: unknown) => {
      if (signal.aborted)
        throw new UserError(
          `"${topic}" was not read within ${READ_WITHIN / 1_000} s: try again when Kafka is less busy.`,
        )
      // Retention has removed the records that were to be compared.
      if (error instanceof RangeGoneError) return
      throw new UserError((await kafkaFailure(error, kafka)) ?? `"${topic}" cannot be read: ${String(error)}`)
    })
  }
  return others.sort(([a], [b]) => a.partition - b.partition)
}
