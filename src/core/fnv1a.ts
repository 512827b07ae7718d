/** FNV-1a, 32 bits (draft-eastlake-fnv), as signed numbers: the hash of nothing, and with one more value of it. */
export const FNV_OFFSET = 0x811c9dc5 | 0

const FNV_PRIME = 0x01000193

export function fnvStep(hash: number, value: number): number {
  return Math.imul(hash ^ value, FNV_PRIME)
}
