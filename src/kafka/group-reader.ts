import {
  PartitionAssigners,
  type Admin,
  type Consumer,
  type EachBatchPayload,
  type Kafka,
  type KafkaMessage,
} from 'kafkajs'
import type { LogRecord, OffsetSpan } from '../core/event/log-record'
import { topicOffsets, type PartitionOffsets } from './client'
import { watchClock } from './clock-watch'
import { unreadableBatch, type UnreadableBatch } from './codecs'
import { removedOffsets, type FetchedBatch } from './fetched-batch'

export interface GroupReaderEvents {
  /** A rebalance assigned these partitions. They stay paused until {@link GroupReader.begin} sets their positions. */
  onAssigned: (partitions: number[]) => void
  onRecords: (fetch: Fetch, heartbeat: () => Promise<void>) => Promise<void>
  /** A partition cannot be read from the batch on. It stays paused until {@link GroupReader.begin}. */
  onUnreadable: (batch: UnreadableBatch) => void
  onError: (error: Error) => void
}

/** The offset to read next. */
export interface Position {
  partition: number
  position: number
}

/**
 * The records of `[fetchedFrom, next)`. Offsets without a record belong to transaction markers, to records of aborted
 * transactions, or to records that compaction has removed.
 */
export interface Fetch {
  partition: number
  fetchedFrom: number
  next: number
  /** The offsets whose records compaction has removed, in order. */
  removed: readonly OffsetSpan[]
  /** The offset that the partition's next record will get. */
  high: number
  length: number
  record: (index: number) => LogRecord
}

/** How long a killed member keeps its partitions, ms. Brokers require 6 s or more. */
const SESSION_TIMEOUT = 7_000
/** Small, because kafkajs decodes a whole response at once: 1 MB per partition takes half again as much time and memory. */
export const FETCH = { minBytes: 1, maxWaitTimeInMs: 100, maxBytesPerPartition: 256 << 10, maxBytes: 4 << 20 }

/**
 * A member of the consumer group. The group only distributes partitions: {@link begin} sets the positions, and the
 * offsets that {@link commit} stores are for tools that show lag.
 */
export class GroupReader {
  private readonly consumer: Consumer
  private readonly admin: Admin
  private clockWatch: NodeJS.Timeout | undefined

  constructor(
    kafka: Kafka,
    group: string,
    private readonly topic: string,
    private readonly events: GroupReaderEvents,
    assigner = PartitionAssigners.roundRobin,
  ) {
    this.admin = kafka.admin()
    this.consumer = kafka.consumer({
      groupId: group,
      partitionAssigners: [assigner],
      sessionTimeout: SESSION_TIMEOUT,
      heartbeatInterval: 1_000,
      rebalanceTimeout: 15_000,
      metadataMaxAge: 5_000,
      ...FETCH,
      retry: {
        initialRetryTime: 200,
        maxRetryTime: 2_000,
        retries: 5,
        // A restart by kafkajs cannot be cancelled, and would leave a member in the group after `stop` (onCrash in
        // kafkajs/src/consumer/index.js).
        restartOnFailure: () => Promise.resolve(false),
      },
    })
  }

  async start(): Promise<void> {
    this.clockWatch = watchClock(error => this.events.onError(error))
    await this.admin.connect()
    await this.consumer.connect()
    this.consumer.on('consumer.group_join', ({ payload }) => {
      const partitions = payload.memberAssignment[this.topic] ?? []
      // kafkajs emits this event before the first fetch, so nothing is read from the committed offsets.
      this.pause(partitions)
      this.events.onAssigned(partitions)
    })
    this.consumer.on('consumer.crash', ({ payload }) => this.events.onError(payload.error))
    await this.consumer.subscribe({ topics: [this.topic], fromBeginning: true })
    await this.consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: 4,
      eachBatch: payload => this.onBatch(payload),
    })
  }

  private async onBatch({ batch, ...payload }: EachBatchPayload): Promise<void> {
    const { partition, messages, highWatermark } = batch
    const fetched = batch as FetchedBatch
    // The first record cannot tell whether a batch continues at the position, because offsets have gaps.
    const fetchedFrom = Number(fetched.fetchedOffset)
    const unreadable = firstUnreadable(partition, messages)
    const length = unreadable?.index ?? messages.length
    const next = unreadable ? Math.max(fetchedFrom, unreadable.batch.offset) : Number(batch.lastOffset()) + 1
    const fetch: Fetch = {
      partition,
      fetchedFrom,
      next,
      // Usually there is a record at every offset.
      removed: length === next - fetchedFrom ? [] : removedOffsets(fetched, fetchedFrom, next),
      high: Number(highWatermark),
      length,
      record: index => toRecord(messages[index]!),
    }
    // Otherwise kafkajs would continue after these messages. A caller that begins again undoes it.
    if (unreadable) this.pause([partition])
    if (fetch.next > fetchedFrom) await this.events.onRecords(fetch, () => payload.heartbeat())
    if (unreadable) this.events.onUnreadable(unreadable.batch)
  }

  begin(positions: Position[]): void {
    for (const { partition, position } of positions)
      this.consumer.seek({ topic: this.topic, partition, offset: String(position) })
    this.consumer.resume([{ topic: this.topic, partitions: positions.map(({ partition }) => partition) }])
  }

  pause(partitions: number[]): void {
    if (partitions.length > 0) this.consumer.pause([{ topic: this.topic, partitions }])
  }

  offsets(): Promise<PartitionOffsets[]> {
    return topicOffsets(this.admin, this.topic)
  }

  /** May commit in a newer generation than intended, which is harmless. */
  async commit(positions: Position[]): Promise<void> {
    await this.consumer.commitOffsets(
      positions.map(({ partition, position }) => ({
        topic: this.topic,
        partition,
        offset: String(position),
      })),
    )
  }

  /** Leaves the group, so that its partitions are reassigned at once. */
  async stop(): Promise<void> {
    clearInterval(this.clockWatch)
    await Promise.allSettled([this.consumer.disconnect(), this.admin.disconnect()])
  }
}

function firstUnreadable(
  partition: number,
  messages: KafkaMessage[],
): { index: number; batch: UnreadableBatch } | undefined {
  for (const [index, message] of messages.entries()) {
    const batch = unreadableBatch(partition, message)
    if (batch) return { index, batch }
  }
  return undefined
}

function toRecord(message: KafkaMessage): LogRecord {
  const { offset, timestamp, key, value } = message
  // Missing from the types (kafkajs/src/protocol/recordBatch/record/v0/decoder.js).
  const { batchContext } = message as { batchContext?: { partitionLeaderEpoch?: number } }
  const leaderEpoch = batchContext?.partitionLeaderEpoch
  return {
    offset: Number(offset),
    timestamp: Number(timestamp),
    value,
    keySize: key?.length ?? -1,
    ...(leaderEpoch !== undefined && { leaderEpoch }),
  }
}
