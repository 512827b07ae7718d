import {
  endsTooSoon,
  fingerprintOf,
  isSameRecord,
  otherRecord,
  type LogFingerprint,
} from '../core/window/log-fingerprint'
import type { Claimed } from '../core/window/protocol'
import type { LogRecord } from '../core/event/log-record'
import type { PartitionReader } from '../core/window/partition-reader'
import type { PartitionOffsets } from '../kafka/client'
import type { Fetch, Position } from '../kafka/group-reader'

/** The partition's log is not the one that was read; a person has to decide what to count. */
export class OtherLogError extends Error {
  override name = 'OtherLogError'
}

/**
 * Checks that each partition's log is the one that was read before, whatever happened to the topic meanwhile: after a
 * claim, reading begins at the last done record, and nothing is counted before that record was compared. It needs no
 * request of its own, since the first fetch has that record. While a partition is read, a new leader is a reason to
 * look again: it may have had less of the log than the one before.
 */
export class LogCheck {
  /** The records that have yet to be compared, by partition. */
  private readonly unverified = new Map<number, LogFingerprint>()
  /** Partitions whose log was accepted and still ends before the position. */
  private readonly growing = new Set<number>()

  /** The leader epoch that each partition was checked for last. */
  private readonly checkedFor = new Map<number, number>()

  /** @param readFrom reads a partition again from there on */
  constructor(
    private readonly topic: string,
    private readonly readFrom: (position: Position) => void,
  ) {}

  /** @throws OtherLogError where a log ends before what is done */
  claimed(claims: Claimed[], offsets: PartitionOffsets[]): void {
    this.unverified.clear()
    this.growing.clear()
    for (const { partition, position, fingerprint, accepted } of claims) {
      const { low, high } = offsetsOf(partition, offsets)
      if (accepted && position > high) this.growing.add(partition)
      // A record that retention has removed can no longer be compared.
      if (fingerprint && fingerprint.offset >= low) this.unverified.set(partition, fingerprint)
    }
    this.refuseShorter(claims, offsets)
  }

  /** Where to begin reading, so that the records to be compared come first. */
  beginnings(positions: Position[]): Position[] {
    return positions.map(({ partition, position }) => ({
      partition,
      position: this.unverified.get(partition)?.offset ?? position,
    }))
  }

  /**
   * Compares the fetch's record at the last offset that was read, if it has one.
   *
   * @returns false where the fetch must not be counted yet
   * @throws OtherLogError
   */
  admits(
    reader: Pick<PartitionReader, 'partition' | 'position' | 'fingerprint'> | undefined,
    fetch: Fetch,
  ): boolean {
    if (!reader) return true
    const { partition } = reader
    const expected = this.unverified.get(partition) ?? reader.fingerprint
    if (!expected) return true
    if (fetch.fetchedFrom <= expected.offset && expected.offset < fetch.next) {
      const record = recordAt(expected.offset, fetch)
      const found = record && fingerprintOf(record)
      if (found && !isSameRecord(found, expected))
        throw new OtherLogError(otherRecord({ topic: this.topic, ...reader }, expected, found))
      // Where there is none, compaction has removed it.
      this.unverified.delete(partition)
    }
    // kafkajs does not say where it began to fetch what has transaction markers only. Nothing is counted of these.
    if (fetch.length === 0 && expected.offset < fetch.fetchedFrom) this.unverified.delete(partition)
    if (this.isOfNewLeader(partition, fetch, expected)) {
      this.unverified.set(partition, expected)
      this.readFrom({ partition, position: expected.offset })
    }
    // What may not be counted comes again: fetching begins at the record to be compared.
    return !this.unverified.has(partition)
  }

  /** Whether the records after the last one that was read are of another leader, for the first time. */
  private isOfNewLeader(partition: number, fetch: Fetch, last: LogFingerprint): boolean {
    if (fetch.fetchedFrom <= last.offset || fetch.length === 0 || !this.isVerified(partition)) return false
    const { leaderEpoch } = fetch.record(0)
    if (leaderEpoch === undefined || last.leaderEpoch === undefined) return false
    if (leaderEpoch === last.leaderEpoch || leaderEpoch === this.checkedFor.get(partition)) return false
    this.checkedFor.set(partition, leaderEpoch)
    return true
  }

  isVerified(partition: number): boolean {
    return !this.unverified.has(partition)
  }

  /** Whether the partition has nothing to count until its log has grown to the position. */
  isGrowing(partition: number): boolean {
    return this.growing.has(partition)
  }

  /**
   * @returns whether retention has removed a record that was to be compared, so that the partitions have to be claimed
   *   again
   * @throws OtherLogError where a log ends before what was read
   */
  lookedUp(positions: Position[], offsets: PartitionOffsets[]): boolean {
    for (const { partition, position } of positions)
      if (position <= offsetsOf(partition, offsets).high) this.growing.delete(partition)
    this.refuseShorter(positions, offsets)
    return [...this.unverified].some(([partition, { offset }]) => offset < offsetsOf(partition, offsets).low)
  }

  /** kafkajs would read a shorter log from its start, and the records below the position would be passed over. */
  private refuseShorter(positions: Position[], offsets: PartitionOffsets[]): void {
    for (const { partition, position } of positions) {
      const { high } = offsetsOf(partition, offsets)
      if (position > high && !this.growing.has(partition))
        throw new OtherLogError(endsTooSoon({ topic: this.topic, partition, position }, high))
    }
  }
}

function offsetsOf(partition: number, offsets: PartitionOffsets[]): Pick<PartitionOffsets, 'low' | 'high'> {
  return offsets[partition] ?? { low: 0, high: 0 }
}

/** The records of a fetch are in the order of their offsets, which may have gaps. */
function recordAt(offset: number, fetch: Fetch): LogRecord | undefined {
  let from = 0
  let to = fetch.length
  while (from < to) {
    const middle = (from + to) >> 1
    if (fetch.record(middle).offset < offset) from = middle + 1
    else to = middle
  }
  if (from === fetch.length) return undefined
  const record = fetch.record(from)
  return record.offset === offset ? record : undefined
}
