import { GroupLimit } from '../counts/group-limit'
import type { HashKey } from '../counts/half-sip-hash'

/** Of all limits together; one limit takes up to a quarter with 250,000 groups, and all of it with 1,000,000. */
const MAX_BYTES = 1 << 24

/** The limits of one partition's windows. */
export class GroupLimits {
  /** By start of the window, the least recently used first. */
  private readonly limits = new Map<number, GroupLimit>()

  constructor(
    private readonly maxGroups: number,
    private readonly key: HashKey,
  ) {}

  of(start: number): GroupLimit {
    const limit = this.limits.get(start) ?? new GroupLimit(this.maxGroups, this.key)
    this.limits.delete(start)
    this.limits.set(start, limit)
    return limit
  }

  /**
   * Drops the limits of windows that are over, and of those least recently used if there are too many. These begin again
   * with the window's next event, as after a restart. The window's result has a limit of its own.
   */
  drop(isOver: (start: number) => boolean): void {
    let bytes = 0
    for (const [start, limit] of this.limits) {
      if (isOver(start)) this.limits.delete(start)
      else bytes += limit.bytes
    }
    for (const [start, limit] of this.limits) {
      if (bytes <= MAX_BYTES) break
      this.limits.delete(start)
      bytes -= limit.bytes
    }
  }
}
