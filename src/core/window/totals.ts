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
