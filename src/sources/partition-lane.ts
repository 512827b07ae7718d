import type { Producer } from 'kafkajs'
import type { TrafficRecord } from './record'

/** Kafka's default `max.message.bytes` is 1,048,588 for a batch; this leaves room for what wraps the values. */
const BATCH_BYTES = 900_000
/** Upper bound of what a record costs besides its value. */
const RECORD_OVERHEAD = 32

export interface LaneOptions {
  producer: Pick<Producer, 'send'>
  topic: string
  partition: number
  batchSize: number
  /** Called with each batch the broker acknowledged, in order. */
  acknowledged: (batch: TrafficRecord[]) => void
  /** Called once, when a send has failed for good: the lane takes no more. */
  failed: () => void
}

/**
 * One partition's records on their way: a batch under way, and one that fills meanwhile.
 *
 * A lane never has two requests under way, and no request carries two lanes. Both matter. kafkajs takes back a
 * sequence number when a request fails, so a second request of the partition would take the first one's number
 * and the broker could drop it as a repeat. And when a request to several brokers fails in part and a partition's
 * leadership moves meanwhile to a broker that has answered, kafkajs holds that partition for sent.
 */
export class PartitionLane {
  private filling: TrafficRecord[] = []
  private bytes = 0
  private underWay: Promise<void> | undefined
  private failure: { error: unknown } | undefined

  constructor(private readonly options: LaneOptions) {}

  /** Takes a record; what it returns, if anything, must be awaited before the next one. Rejects once a send has failed. */
  add(record: TrafficRecord): Promise<void> | undefined {
    const size = (record.value === null ? 0 : Buffer.byteLength(record.value)) + RECORD_OVERHEAD
    if (this.filling.length > 0 && this.bytes + size > BATCH_BYTES) {
      return this.makeRoom().then(() => this.add(record))
    }
    this.filling.push(record)
    this.bytes += size
    return this.filling.length >= this.options.batchSize ? this.makeRoom() : undefined
  }

  /** Sends what there is, unless a batch is under way: then the next flush, or a full batch, takes it along. */
  flush(): void {
    if (this.underWay || this.failure || this.filling.length === 0) return
    const batch = this.filling
    this.filling = []
    this.bytes = 0
    this.underWay = this.send(batch)
  }

  /** Resolves when all that was taken is acknowledged; rejects with the first failure. */
  async drain(): Promise<void> {
    await this.makeRoom()
    await this.underWay
    this.throwFailure()
  }

  private async makeRoom(): Promise<void> {
    await this.underWay
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
      this.underWay = undefined
    }
  }

  private throwFailure(): void {
    if (this.failure) throw this.failure.error
  }
}
