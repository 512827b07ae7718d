import type { LogRecord, OffsetSpan } from '../../src/core/event/log-record'
import type { Arrival, TrafficEvent } from './traffic'
import type { World } from './world'

/** A record together with its event, so that the reference need not parse it. */
export interface LoggedRecord extends LogRecord {
  event: TrafficEvent | null
  /** Records that compaction has removed before it. */
  removed: number
}

/** Kafka's log and consumer group. A sleeping poller misses rebalances. */
export class Kafka {
  readonly log: LoggedRecord[][]
  /** By partition, the offsets whose records compaction has removed. */
  readonly removed: OffsetSpan[][]
  /** Rises with every rebalance. */
  generation = 0
  private assignment = new Map<number, number[]>()

  constructor(
    private readonly world: World,
    readonly partitions: number,
  ) {
    this.log = Array.from({ length: partitions }, () => [])
    this.removed = Array.from({ length: partitions }, () => [])
  }

  append({ partition, gap, removed, value, event }: Arrival): void {
    const log = this.log[partition]!
    const bytes = value === null ? null : Buffer.from(value)
    const from = this.end(partition) + this.world.random.below(gap + 1)
    if (removed > 0) this.removed[partition]!.push({ from, to: from + removed })
    const offset = this.end(partition) + gap + removed
    log.push({ offset, timestamp: this.world.clock, value: bytes, event, removed })
  }

  /** The lowest offset that the next record can get. */
  end(partition: number): number {
    const last = this.log[partition]!.at(-1)
    return last ? last.offset + 1 : 0
  }

  fetch(partition: number, from: number, max: number): LoggedRecord[] {
    if (this.end(partition) <= from) return []
    const log = this.log[partition]!
    const first = log.findIndex(({ offset }) => offset >= from)
    return log.slice(first, first + max)
  }

  /** Where a fetch that brought these records ends: after the last one, or among the offsets that have none. */
  fetchEnd(partition: number, fetched: LoggedRecord[]): number {
    const end = fetched.at(-1)!.offset + 1
    const [following] = this.fetch(partition, end, 1)
    return following ? end + this.world.random.below(following.offset - end + 1) : end
  }

  rebalance(members: number[]): void {
    this.generation++
    this.assignment = new Map(members.map(member => [member, []]))
    if (members.length === 0) return
    for (let p = 0; p < this.partitions; p++) this.assigned(this.world.random.pick(members)).push(p)
  }

  assigned(member: number): number[] {
    return this.assignment.get(member) ?? []
  }
}
