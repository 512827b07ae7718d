import { groups, type ColumnarCounts } from '../../src/core/counts/columnar'

/** Hits by window start, host and country joined into a key. */
export type Counts = Map<string, number>

export function countOne(into: Counts, start: number, host: string, country: string, hits = 1): void {
  const key = `${start} ${host} ${country}`
  into.set(key, (into.get(key) ?? 0) + hits)
}

export function addColumns(into: Counts, start: number, columns: ColumnarCounts): void {
  for (const { host, country, hits } of groups(columns)) countOne(into, start, host, country, hits)
}

export function sumOf(...all: Counts[]): Counts {
  const sum: Counts = new Map()
  for (const counts of all) for (const [key, hits] of counts) sum.set(key, (sum.get(key) ?? 0) + hits)
  return sum
}

export function totalOf(counts: Counts): number {
  let total = 0
  for (const hits of counts.values()) total += hits
  return total
}

export function expectEqual(what: string, actual: Counts, expected: Counts): void {
  for (const key of new Set([...actual.keys(), ...expected.keys()]))
    if (actual.get(key) !== expected.get(key))
      throw new Error(`${what}, ${key}: ${actual.get(key)} instead of ${expected.get(key)}`)
}
