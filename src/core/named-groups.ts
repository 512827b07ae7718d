import { FNV_OFFSET, fnvStep } from './fnv1a'

/**
 * Which groups of a window keep their name, in bounded memory: after `max` distinct ones no new one does. Groups are
 * told apart by a 32-bit hash (FNV-1a): two that share one are both named, and counted apart.
 */
export class NamedGroups {
  private readonly hashes = new Set<number>()

  constructor(private readonly max: number) {}

  /** Whether the group has a name, or can still be given one. */
  readonly admits = (host: string, referrer: string, country: string): boolean => {
    const hash = fnv1a(country, fnv1a(referrer, fnv1a(host, FNV_OFFSET)))
    if (this.hashes.has(hash)) return true
    if (this.hashes.size >= this.max) return false
    this.hashes.add(hash)
    return true
  }
}

function fnv1a(text: string, hash: number): number {
  for (let i = 0; i < text.length; i++) hash = fnvStep(hash, text.charCodeAt(i))
  // Sets "ab" + "c" apart from "a" + "bc": a code unit never is so large.
  return fnvStep(hash, 0x10000)
}
