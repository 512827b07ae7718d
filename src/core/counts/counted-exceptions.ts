import { GroupCounter } from './columnar'
import type { GroupPolicy } from './dictionary'
import type { LocatedEvent } from '../event/event-reader'
import type { DeltaExceptions } from '../window/protocol'
import { publishable } from './unknown-country'
import type { Interners } from './string-interning'

/** Upper bound of a sample as JSON: an offset below 2⁵³, a reason, and punctuation. Bytes. */
const SAMPLE_BYTES = 64
/** Upper bound of a window's start and braces around its counts. Bytes. */
const LATE_FRAME_BYTES = 32

/** Late and rejected records. */
export class CountedExceptions {
  private readonly late = new Map<number, GroupCounter>()
  private readonly rejected = new Map<string, number>()
  private samples: [number, string][] = []
  records = 0

  /** @param policy decides about the names of late groups */
  constructor(private readonly policy?: GroupPolicy) {}

  /** @returns by how many bytes {@link encodedBytes} grew */
  countLate(start: number, event: LocatedEvent, interners: Interners): number {
    const counter = this.lateCounter(start)
    const before = counter.groups === 0 ? -LATE_FRAME_BYTES : counter.encodedBytes
    counter.count(event, interners)
    this.records++
    return counter.encodedBytes - before
  }

  private lateCounter(start: number): GroupCounter {
    let counter = this.late.get(start)
    if (!counter) this.late.set(start, (counter = new GroupCounter(this.policy)))
    return counter
  }

  /** @param offset absent if the record does not become a sample */
  countRejected(reason: string, offset: number | undefined, records = 1): void {
    this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + records)
    if (offset !== undefined) this.samples.push([offset, reason])
    this.records += records
  }

  /** Adds those of a delta, and keeps the newest `maxSamples` samples. */
  addAll({ late, rejected, samples }: DeltaExceptions, maxSamples: number): void {
    for (const { windowStart, ...counts } of late) {
      const counter = this.lateCounter(windowStart)
      const before = counter.hits
      counter.addAll(counts)
      this.records += counter.hits - before
    }
    for (const [reason, records] of Object.entries(rejected)) this.countRejected(reason, undefined, records)
    this.samples = [...this.samples, ...samples].slice(-maxSamples)
  }

  rejectedFor(reason: string): number {
    return this.rejected.get(reason) ?? 0
  }

  /** Upper bound of {@link toMessage} as JSON. */
  get encodedBytes(): number {
    let bytes = (this.samples.length + this.rejected.size) * SAMPLE_BYTES
    for (const counter of this.late.values()) bytes += counter.encodedBytes + LATE_FRAME_BYTES
    return bytes
  }

  toMessage(): DeltaExceptions {
    return {
      records: this.records,
      late: [...this.late].map(([windowStart, counter]) => ({
        windowStart,
        ...publishable(counter.columns()).counts,
      })),
      rejected: Object.fromEntries(this.rejected),
      samples: this.samples,
    }
  }
}
