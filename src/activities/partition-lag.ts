import type { PartitionOffsets } from '../kafka/client'
import type { Fetch, Position } from '../kafka/group-reader'

interface PartitionEnd {
  /** When its last record came, it was assigned, or the broker came back; by `performance.now()`, since clocks jump. */
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
    this.ends.set(partition, { quietSince: performance.now(), high })
  }

  fetched({ partition, high, length }: Fetch): void {
    const end = this.ends.get(partition)
    if (!end) return
    end.high = Math.max(end.high, high)
    if (length > 0) end.quietSince = performance.now()
  }

  lookedUp(offsets: PartitionOffsets[]): void {
    for (const { partition, high } of offsets) {
      const end = this.ends.get(partition)
      if (end) end.high = high
    }
  }

  /** Restarts the quiet times, because records that producers held back during the outage arrive only now. */
  brokerIsBack(): void {
    for (const end of this.ends.values()) end.quietSince = performance.now()
  }

  end(partition: number): number | undefined {
    return this.ends.get(partition)?.high
  }

  /** Milliseconds. */
  quietFor(partition: number): number {
    const end = this.ends.get(partition)
    return end ? performance.now() - end.quietSince : 0
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
