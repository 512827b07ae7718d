import { FNV_OFFSET, fnvStep } from './fnv1a'

/**
 * Which groups of a window keep their name, in bounded memory: after `max` distinct ones no new one does. Groups are
 * told apart by a 32-bit hash: two that share one are both named, and counted apart.
 */
export class NamedGroups {
  private readonly hashes = new Set<number>()

  constructor(private readonly max: number) {}

  /** Whether the group of this {@link groupHash} has a name, or can still be given one. */
  readonly admits = (hash: number): boolean => {
    if (this.hashes.has(hash)) return true
    if (this.hashes.size >= this.max) return false
    this.hashes.add(hash)
    return true
  }
}

/** A group's hash, of the hashes of its parts, which sets `ab`, `c` apart from `a`, `bc`. */
export function groupHash(host: number, referrer: number, country: number): number {
  return fnvStep(fnvStep(fnvStep(FNV_OFFSET, host), referrer), country)
}
