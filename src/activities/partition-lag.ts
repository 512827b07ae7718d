import type { PartitionOffsets } from '../kafka/client'
import type { Fetch, Position } from '../kafka/group-reader'

interface PartitionEnd {
  /** The time of its last record, of its assignment, or of the broker's return. Epoch milliseconds. */
  quietSince: number
  /** The offset that the next record will get. */
  high: number
}

/** Fewer unread records than this are live traffic, not a backlog. */
const CAUGHT_UP = 2_000

/** The last known ends of the claimed partitions. */
export class PartitionLag {
  private readonly ends = new Map<number, PartitionEnd>()

  claimed(partition: number, high: number): void {
    this.ends.set(partition, { quietSince: Date.now(), high })
  }

  fetched({ partition, high, length }: Fetch): void {
    const end = this.ends.get(partition)
    if (!end) return
    end.high = Math.max(end.high, high)
    if (length > 0) end.quietSince = Date.now()
  }

  lookedUp(offsets: PartitionOffsets[]): void {
    for (const { partition, high } of offsets) {
      const end = this.ends.get(partition)
      if (end) end.high = high
    }
  }

  /** Restarts the quiet times, because records that producers held back during the outage arrive only now. */
  brokerIsBack(): void {
    for (const end of this.ends.values()) end.quietSince = Date.now()
  }

  end(partition: number): number | undefined {
    return this.ends.get(partition)?.high
  }

  quietSince(partition: number): number | undefined {
    return this.ends.get(partition)?.quietSince
  }

  lag({ partition, position }: Position): number {
    return Math.max(0, (this.end(partition) ?? position) - position)
  }

  totalLag(positions: Position[]): number {
    return positions.reduce((sum, position) => sum + this.lag(position), 0)
  }

  caughtUp(positions: Position[]): boolean {
    return positions.every(position => this.lag(position) < CAUGHT_UP)
  }
}
