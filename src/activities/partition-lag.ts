import type { PartitionOffsets } from '../kafka/client'
import type { Fetch, Position } from '../kafka/group-reader'

interface Heard {
  /** Since when it may be called silent: its last record, its assignment, or the broker's return. */
  quietSince: number
  /** The offset that the next record will get. */
  high: number
}

/** Fewer unread records than this are live traffic, not a backlog. */
const CAUGHT_UP = 2_000

/** What was last heard of the ends of the partitions that were claimed. Times are epoch milliseconds. */
export class PartitionLag {
  private readonly heard = new Map<number, Heard>()

  claimed(partition: number, high: number): void {
    this.heard.set(partition, { quietSince: Date.now(), high })
  }

  fetched({ partition, high, length }: Fetch): void {
    const heard = this.heard.get(partition)
    if (!heard) return
    heard.high = Math.max(heard.high, high)
    if (length > 0) heard.quietSince = Date.now()
  }

  lookedUp(offsets: PartitionOffsets[]): void {
    for (const { partition, high } of offsets) {
      const heard = this.heard.get(partition)
      if (heard) heard.high = high
    }
  }

  /** What was sent to a broker that was away arrives a while after it is back. */
  brokerIsBack(): void {
    for (const heard of this.heard.values()) heard.quietSince = Date.now()
  }

  end(partition: number): number | undefined {
    return this.heard.get(partition)?.high
  }

  quietSince(partition: number): number | undefined {
    return this.heard.get(partition)?.quietSince
  }

  /** Records that are unread. */
  lag({ partition, position }: Position): number {
    return Math.max(0, (this.end(partition) ?? position) - position)
  }

  unread(positions: Position[]): number {
    return positions.reduce((sum, position) => sum + this.lag(position), 0)
  }

  /** Whether everything that Kafka was heard to have is read, or nearly. */
  caughtUp(positions: Position[]): boolean {
    return positions.every(position => this.lag(position) < CAUGHT_UP)
  }
}
