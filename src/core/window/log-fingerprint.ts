import type { LogRecord } from '../event/log-record'

/**
 * Distinguishes a record from the one at the same offset in another log of the same name. It contains neither content
 * nor a hash of it, since an address could be guessed from a hash.
 */
export interface LogFingerprint {
  offset: number
  /** Epoch milliseconds. */
  timestamp: number
  /** Bytes; -1 for null. */
  keySize: number
  valueSize: number
  /** Epoch of the leader that appended the record; absent if Kafka does not report it. */
  leaderEpoch?: number
}

export function fingerprintOf({
  offset,
  timestamp,
  keySize = -1,
  value,
  leaderEpoch,
}: LogRecord): LogFingerprint {
  return {
    offset,
    timestamp,
    keySize,
    valueSize: value?.byteLength ?? -1,
    ...(leaderEpoch !== undefined && { leaderEpoch }),
  }
}

export function isSameRecord(a: LogFingerprint, b: LogFingerprint): boolean {
  const sameEpoch =
    a.leaderEpoch === undefined || b.leaderEpoch === undefined || a.leaderEpoch === b.leaderEpoch
  return (
    sameEpoch &&
    a.offset === b.offset &&
    a.timestamp === b.timestamp &&
    a.keySize === b.keySize &&
    a.valueSize === b.valueSize
  )
}

interface ReadPartition {
  topic: string
  partition: number
  /** The next offset to read. */
  position: number
}

/** Error message for a partition that has another record at the offset of the last done one. */
export function otherRecord(read: ReadPartition, expected: LogFingerprint, found: LogFingerprint): string {
  return (
    `Partition ${read.partition} of "${read.topic}" is not the log that was read: at offset ${expected.offset} ` +
    `${describe(expected)} was read, and now there is ${describe(found)}. ${causeAndDecisions(read)}`
  )
}

/** Error message for a partition whose log ends before the position. */
export function endsTooSoon(read: ReadPartition, end: number): string {
  return (
    `Partition ${read.partition} of "${read.topic}" ends at offset ${end}, but it was read to offset ` +
    `${read.position}. ${causeAndDecisions(read)}`
  )
}

function causeAndDecisions({ partition, position }: ReadPartition): string {
  return (
    'The topic was deleted and re-created, or Kafka lost records. To count this log from its start, run ' +
    '"web-traffic migrate" and "web-traffic start" with another KAFKA_GROUP and POSTGRES_DB. To continue at offset ' +
    `${position} and skip the records before it, run "web-traffic accept-log --partition ${partition}" ` +
    '(without --partition for all partitions).'
  )
}

function describe({ timestamp, keySize, valueSize, leaderEpoch }: LogFingerprint): string {
  const epoch = leaderEpoch === undefined ? '' : `, leader epoch ${leaderEpoch}`
  const time = new Date(timestamp).toISOString()
  return `a record of ${time} (${sizeOf('key', keySize)}, ${sizeOf('value', valueSize)}${epoch})`
}

function sizeOf(part: string, size: number): string {
  return size < 0 ? `no ${part}` : `${part} of ${size} bytes`
}
