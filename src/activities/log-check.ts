import type { LogRecord } from '../core/event/log-record'
import {
  endsTooSoon,
  fingerprintOf,
  isSameRecord,
  otherRecord,
  type LogFingerprint,
} from '../core/window/log-fingerprint'
import type { PartitionReader } from '../core/window/partition-reader'
import type { Claimed } from '../core/window/protocol'
import type { PartitionOffsets } from '../kafka/client'
import type { Fetch, Position } from '../kafka/group-reader'

/** The partition's log is not the one that was read before. A person has to decide what to count. */
export class OtherLogError extends Error {
  override name = 'OtherLogError'
}

/**
 * Checks that each partition's log is the one that was read before. After a claim, reading starts at the last done
 * record, and nothing is counted before that record was compared. A new leader is a reason to compare again, because it
 * may have had less of the log than the previous one.
 */
export class LogCheck {
  /** The records that have to be compared, by partition. */
  private readonly unverified = new Map<number, LogFingerprint>()
  /** Partitions whose log was accepted, but still ends before the position. */
  private readonly growing = new Set<number>()
  /** The leader epoch of the last check, by partition. */
  private readonly checkedEpochs = new Map<number, number>()

  /** @param readFrom starts reading a partition again at a position */
  constructor(
    private readonly topic: string,
    private readonly readFrom: (position: Position) => void,
  ) {}

  /** @throws OtherLogError if a log ends before the claimed position */
  claimed(claims: Claimed[], offsets: PartitionOffsets[]): void {
    this.unverified.clear()
    this.growing.clear()
    for (const { partition, position, fingerprint, accepted } of claims) {
      const { low, high } = offsetsOf(partition, offsets)
      if (accepted && position > high) this.growing.add(partition)
      // A record that retention has removed cannot be compared.
      if (fingerprint && fingerprint.offset >= low) this.unverified.set(partition, fingerprint)
    }
    this.refuseShorter(claims, offsets)
  }

  /** Where to start reading, so that the records to compare come first. */
  startPositions(positions: Position[]): Position[] {
    return positions.map(({ partition, position }) => ({
      partition,
      position: this.unverified.get(partition)?.offset ?? position,
    }))
  }

  /**
   * Compares the fetch's record at the last offset that was read, if it has one.
   *
   * @returns false if the fetch must not be counted; it will be fetched again
   * @throws OtherLogError if the record differs
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
        throw new OtherLogError(
          otherRecord({ topic: this.topic, partition, position: reader.position }, expected, found),
        )
      // If the record is missing, compaction has removed it.
      this.unverified.delete(partition)
    }
    if (this.hasNewLeader(partition, fetch, expected)) {
      this.unverified.set(partition, expected)
      this.readFrom({ partition, position: expected.offset })
    }
    return this.isVerified(partition)
  }

  /** Whether another leader appended the records after the last one that was read, and that was not checked yet. */
  private hasNewLeader(partition: number, fetch: Fetch, last: LogFingerprint): boolean {
    if (fetch.fetchedFrom <= last.offset || fetch.length === 0 || !this.isVerified(partition)) return false
    const { leaderEpoch } = fetch.record(0)
    if (leaderEpoch === undefined || last.leaderEpoch === undefined) return false
    if (leaderEpoch === last.leaderEpoch || leaderEpoch === this.checkedEpochs.get(partition)) return false
    this.checkedEpochs.set(partition, leaderEpoch)
    return true
  }

  isVerified(partition: number): boolean {
    return !this.unverified.has(partition)
  }

  /** Whether the log still has to grow to the position, so that there is nothing to count. */
  isGrowing(partition: number): boolean {
    return this.growing.has(partition)
  }

  /**
   * @returns whether the partitions have to be claimed again, because retention removed a record before it was compared
   *   or read. If it removed all of them, no fetch shows the gap.
   * @throws OtherLogError if a log ends before the position
   */
  lookedUp(positions: Position[], offsets: PartitionOffsets[]): boolean {
    for (const { partition, position } of positions)
      if (position <= offsetsOf(partition, offsets).high) this.growing.delete(partition)
    this.refuseShorter(positions, offsets)
    const isGone = (partition: number, offset: number) => offset < offsetsOf(partition, offsets).low
    return (
      [...this.unverified].some(([partition, { offset }]) => isGone(partition, offset)) ||
      positions.some(({ partition, position }) => isGone(partition, position))
    )
  }

  /** kafkajs would read a shorter log from its start, and the records below the position would be skipped. */
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

/** Binary search, because offsets are sorted and may have gaps. */
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
