import type { Producer } from 'kafkajs'
import type { TrafficRecord } from './record'

/** Kafka's default `max.message.bytes` limits a batch to 1,048,588 bytes; this leaves room for its framing. */
const BATCH_BYTES = 900_000
/** Upper bound of a record's framing, in bytes. */
const RECORD_OVERHEAD = 32

export interface LaneOptions {
  producer: Pick<Producer, 'send'>
  topic: string
  partition: number
  batchSize: number
  /** Called with each batch that the broker has acknowledged, in order. */
  acknowledged: (batch: TrafficRecord[]) => void
  /** Called once, when a send has failed permanently. */
  failed: () => void
}

/**
 * The records of one partition on their way to the broker: at most one request in flight, and one batch that fills up.
 *
 * A request never carries two lanes. Both limits matter. kafkajs rewinds its sequence number when a request fails, so a
 * second request in flight would reuse the number of the first, and the broker could drop it as a repeat. And if a
 * request to several brokers fails in part while a partition moves to a leader that has already answered, kafkajs
 * takes that partition's records for sent.
 */
export class PartitionLane {
  private filling: TrafficRecord[] = []
  private bytes = 0
  private inFlight: Promise<void> | undefined
  private failure: { error: unknown } | undefined

  constructor(private readonly options: LaneOptions) {}

  /** If it returns a promise, the caller must await it before adding another record. Rejects once a send has failed. */
  add(record: TrafficRecord): Promise<void> | undefined {
    const size = (record.value === null ? 0 : Buffer.byteLength(record.value)) + RECORD_OVERHEAD
    if (this.filling.length > 0 && this.bytes + size > BATCH_BYTES) {
      return this.makeRoom().then(() => this.add(record))
    }
    this.filling.push(record)
    this.bytes += size
    return this.filling.length >= this.options.batchSize ? this.makeRoom() : undefined
  }

  /** Sends the waiting records unless a request is in flight; a later flush sends them then. */
  flush(): void {
    if (this.inFlight || this.failure || this.filling.length === 0) return
    const batch = this.filling
    this.filling = []
    this.bytes = 0
    this.inFlight = this.send(batch)
  }

  /** Resolves once every record is acknowledged; rejects with the first failure. */
  async drain(): Promise<void> {
    await this.makeRoom()
    await this.inFlight
    this.throwFailure()
  }

  private async makeRoom(): Promise<void> {
    await this.inFlight
    this.throwFailure()
    this.flush()
  }

  private async send(batch: TrafficRecord[]): Promise<void> {
    const { producer, topic, partition, acknowledged, failed } = this.options
    try {
      const messages = batch.map(({ value }) => ({ value, partition }))
      await producer.send({ topic, messages, acks: -1 })
      acknowledged(batch)
    } catch (error) {
      this.failure = { error }
      failed()
    } finally {
      this.inFlight = undefined
    }
  }

  private throwFailure(): void {
    if (this.failure) throw this.failure.error
  }
}
