import { GroupCounter } from './columnar'
import type { LocatedEvent } from '../event/event-reader'
import type { DeltaExceptions } from '../window/protocol'
import { publishable } from './unknown-country'
import type { Interners } from './string-interning'

/** A sample as JSON at most: an offset below 2⁵³, a reason, and what stands around them. Bytes. */
const SAMPLE_BYTES = 64
/** The counts of a window as JSON have its start and braces around them, at most. Bytes. */
const LATE_FRAME_BYTES = 32

/** Late and rejected records of a range, as they are counted. */
export class CountedExceptions {
  private readonly late = new Map<number, GroupCounter>()
  private readonly rejected = new Map<string, number>()
  private readonly samples: [number, string][] = []
  private lateBytes = 0
  records = 0

  /** @returns by how many bytes it grew */
  countLate(start: number, event: LocatedEvent, words: Interners): number {
    let counter = this.late.get(start)
    if (!counter) this.late.set(start, (counter = new GroupCounter()))
    const before = counter.groups === 0 ? -LATE_FRAME_BYTES : counter.encodedBytes
    counter.count(event, words)
    this.records++
    const grown = counter.encodedBytes - before
    this.lateBytes += grown
    return grown
  }

  /** @param offset absent where the record is not named */
  countRejected(reason: string, offset: number | undefined, records = 1): void {
    this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + records)
    if (offset !== undefined) this.samples.push([offset, reason])
    this.records += records
  }

  /** Upper bound of {@link toMessage} as JSON. */
  get encodedBytes(): number {
    return this.lateBytes + (this.samples.length + this.rejected.size) * SAMPLE_BYTES
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
