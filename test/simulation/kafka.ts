import type { LogRecord, OffsetSpan } from '../../src/core/event/log-record'
import { WINDOW, type Arrival, type TrafficEvent } from './traffic'
import type { World } from './world'

/** A record together with its event, so that the reference need not parse it. */
export interface LoggedRecord extends LogRecord {
  event: TrafficEvent | null
  /** Records that compaction has removed before it. */
  removed: number
  /** When it arrived, which is not its timestamp if the broker's clock is wrong. */
  at: number
}

/** Kafka's log and consumer group. A sleeping poller misses rebalances. */
export class Kafka {
  readonly log: LoggedRecord[][]
  /** By partition, the offsets whose records compaction has removed, in order. */
  readonly removed: OffsetSpan[][]
  /** By partition, the first offset that retention has left. */
  readonly low: number[]
  /** Rises with every rebalance. */
  generation = 0
  private assignment = new Map<number, number[]>()
  /** How far the clock of each partition's broker is ahead, ms. */
  private readonly ahead: number[]

  constructor(
    private readonly world: World,
    readonly partitions: number,
  ) {
    this.log = Array.from({ length: partitions }, () => [])
    this.removed = Array.from({ length: partitions }, () => [])
    this.low = Array.from({ length: partitions }, () => 0)
    this.ahead = this.log.map(() => world.random.pick([0, 0, 0, -WINDOW, WINDOW]))
  }

  append({ partition, gap: markers, removed, value, event }: Arrival): void {
    const log = this.log[partition]!
    // Retention counts what it removes by offsets, with the markers.
    const gap = this.world.loses ? 0 : markers
    const bytes = value === null ? null : Buffer.from(value)
    const from = this.end(partition) + this.world.random.below(gap + 1)
    if (removed > 0) this.removed[partition]!.push({ from, to: from + removed })
    const offset = this.end(partition) + gap + removed
    const at = this.world.clock
    log.push({ offset, timestamp: at + this.ahead[partition]!, value: bytes, event, removed, at })
  }

  /** The lowest offset that the next record can get. */
  end(partition: number): number {
    const last = this.log[partition]!.at(-1)
    return last ? last.offset + 1 : 0
  }

  fetch(partition: number, from: number, max: number): LoggedRecord[] {
    if (this.end(partition) <= from) return []
    const all = this.log[partition]!
    const log = this.world.loses ? all.filter(({ offset }) => this.has(partition, offset)) : all
    const first = log.findIndex(({ offset }) => offset >= from)
    return first < 0 ? [] : log.slice(first, first + max)
  }

  private has(partition: number, offset: number): boolean {
    const isRemoved = this.removed[partition]!.some(({ from, to }) => from <= offset && offset < to)
    return offset >= this.low[partition]! && !isRemoved
  }

  /** Removes records, read or not. Compaction leaves the newest one. */
  lose(): void {
    const { random } = this.world
    const partition = random.below(this.partitions)
    const [low, end] = [this.low[partition]!, this.end(partition)]
    if (low === end) return
    if (random.chance(0.5)) this.low[partition] = Math.min(end, low + 1 + random.below(15))
    else {
      const from = low + random.below(end - low)
      if (from < end - 1 && this.has(partition, from)) this.removed[partition]!.push({ from, to: from + 1 })
      this.removed[partition]!.sort((a, b) => a.from - b.from)
    }
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
