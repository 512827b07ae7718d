/** The least of the values that so large a share (0 to 1) of them does not exceed; NaN where there is none. */
export function quantileOf(values: readonly number[]): (share: number) => number {
  const sorted = [...values].sort((a, b) => a - b)
  return share => sorted[Math.ceil(share * sorted.length) - 1] ?? NaN
}
