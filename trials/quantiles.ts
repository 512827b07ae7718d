/**
 * A function that returns a quantile of the values by the nearest-rank method: the smallest value that at least the
 * given share (0 to 1) of them does not exceed. NaN if there are no values.
 */
export function quantilesOf(values: readonly number[]): (share: number) => number {
  const sorted = [...values].sort((a, b) => a - b)
  return share => sorted[Math.ceil(share * sorted.length) - 1] ?? NaN
}
