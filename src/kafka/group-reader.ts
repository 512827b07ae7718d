import type { Admin, Consumer, EachBatchPayload, InstrumentationEvent, Kafka, KafkaMessage } from 'kafkajs'
import type { LogRecord } from '../core/event/log-record'
import { topicOffsets, type PartitionOffsets } from './client'

export interface GroupReaderEvents {
  /** Kafka has given out the partitions anew. They are paused until {@link GroupReader.begin} names their positions. */
  onAssigned: (partitions: number[]) => void
  /**
   * Records of one fetch, which asked from `fetchedFrom` on and covers everything before `next`. `high` is the
   * offset that the partition's next record would get.
   */
  onRecords: (fetch: Fetch, heartbeat: () => Promise<void>) => Promise<void>
  onError: (error: Error) => void
}

/** The offset of the record that is read next. */
export interface Position {
  partition: number
  position: number
}

export interface Fetch {
  partition: number
  fetchedFrom: number
  next: number
  high: number
  length: number
  record: (index: number) => LogRecord
}

/** Until a member that was killed is given up (brokers take 6 s and more); as long as its activity's heartbeat. */
const SESSION_TIMEOUT = 7_000
/**
 * kafkajs decodes all that one answer holds before the first record is used. Of small answers the young generation's
 * collector has little to copy: a drain takes a third less time and memory than with 1 MB a partition.
 */
export const FETCH = { minBytes: 1, maxWaitTimeInMs: 100, maxBytesPerPartition: 256 << 10, maxBytes: 4 << 20 }
const METADATA_MAX_AGE = 5_000

/**
 * A member of the consumer group. Kafka's group only distributes the partitions: where to read is always told by
 * {@link begin}, and the offsets that {@link commit} stores are for the tools that show lag.
 */
export class GroupReader {
  private readonly consumer: Consumer
  private readonly admin: Admin

  constructor(
    kafka: Kafka,
    group: string,
    private readonly topic: string,
    private readonly events: GroupReaderEvents,
  ) {
    this.admin = kafka.admin()
    this.consumer = kafka.consumer({
      groupId: group,
      sessionTimeout: SESSION_TIMEOUT,
      heartbeatInterval: 1_000,
      rebalanceTimeout: 15_000,
      metadataMaxAge: METADATA_MAX_AGE,
      ...FETCH,
      retry: {
        initialRetryTime: 200,
        maxRetryTime: 2_000,
        retries: 5,
        // A restart of its own cannot be called off: one that was under way when the reader was stopped would leave
        // a member in the group that nobody listens to (kafkajs, src/consumer/index.js, onCrash).
        restartOnFailure: () => Promise.resolve(false),
      },
    })
  }

  async start(): Promise<void> {
    await this.admin.connect()
    await this.consumer.connect()
    this.consumer.on('consumer.group_join', ({ payload }) => {
      const partitions = payload.memberAssignment[this.topic] ?? []
      // Fetching goes on at the group's committed offsets at once, which decide nothing here: the join is
      // announced after the assignment is taken and before the first fetch, so nothing is read meanwhile.
      this.consumer.pause([{ topic: this.topic, partitions }])
      this.events.onAssigned(partitions)
    })
    // Batches of nothing but transaction markers or aborted records never reach eachBatch.
    this.consumer.on('consumer.end_batch_process', event => this.onFilteredBatch(event))
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
    // Not in the types, but part of every batch (kafkajs, src/consumer/batch.js): whether a batch follows on what
    // was read cannot be told from its first record, as offsets have gaps.
    const { fetchedOffset } = batch as unknown as { fetchedOffset: string }
    const fetch: Fetch = {
      partition,
      fetchedFrom: Number(fetchedOffset),
      next: Number(batch.lastOffset()) + 1,
      high: Number(highWatermark),
      length: messages.length,
      record: index => toRecord(messages[index]!),
    }
    await this.events.onRecords(fetch, () => payload.heartbeat())
  }

  private onFilteredBatch({ payload }: InstrumentationEvent<FilteredBatch>): void {
    if (payload.topic !== this.topic || payload.batchSize > 0) return
    const fetch: Fetch = {
      partition: payload.partition,
      // Where compaction has left nothing from the fetched offset on, kafkajs goes on at the next offset.
      fetchedFrom: Number(payload.firstOffset ?? payload.lastOffset),
      next: Number(payload.lastOffset) + 1,
      high: Number(payload.highWatermark),
      length: 0,
      record: () => {
        throw new RangeError('a batch of markers has no records')
      },
    }
    this.events.onRecords(fetch, () => Promise.resolve()).catch(this.events.onError)
  }

  /** Reads on from these positions. */
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

  /** For the tools that show lag. May speak for a newer generation than it was meant for, which does no harm. */
  async commit(positions: Position[]): Promise<void> {
    await this.consumer.commitOffsets(
      positions.map(({ partition, position }) => ({
        topic: this.topic,
        partition,
        offset: String(position),
      })),
    )
  }

  /** Leaves the group, so that its partitions are given to others at once. */
  async stop(): Promise<void> {
    await Promise.allSettled([this.consumer.disconnect(), this.admin.disconnect()])
  }
}

interface FilteredBatch {
  topic: string
  partition: number
  batchSize: number
  firstOffset: string | null
  lastOffset: string
  highWatermark: string
}

function toRecord(message: KafkaMessage): LogRecord {
  const { offset, timestamp, key, value } = message
  // Not in the types, but part of every record of a batch (kafkajs, src/protocol/recordBatch/record/v0/decoder.js).
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
