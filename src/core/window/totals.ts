import type { RangeTotals } from './protocol'

export function sumOf(ranges: { totals: RangeTotals }[]): RangeTotals {
  const sum = { records: 0, hits: 0, late: 0, rejected: 0 }
  for (const { totals } of ranges) {
    sum.records += totals.records
    sum.hits += totals.hits
    sum.late += totals.late
    sum.rejected += totals.rejected
  }
  return sum
}

export function areSameTotals(a: RangeTotals, b: RangeTotals): boolean {
  return a.records === b.records && a.hits === b.hits && a.late === b.late && a.rejected === b.rejected
}
