/** Periods for which totals are kept, aligned to UTC, longest first. */
export const PERIODS = ['month', 'day', 'hour'] as const

export type PeriodName = (typeof PERIODS)[number]

/** `[from, to)`, epoch milliseconds. */
export interface Interval {
  from: number
  to: number
}

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** End of the period that begins at `start`. */
export function periodEnd(period: PeriodName, start: number): number {
  if (period === 'hour') return start + HOUR
  if (period === 'day') return start + DAY
  const month = new Date(start)
  return Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1)
}

/** Start of the month that contains a time. */
export function monthOf(time: number): number {
  const date = new Date(time)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
}

/** Whether buckets of this length, aligned to the epoch, consist of whole periods; never for months, whose length varies. */
export function divides(period: PeriodName, bucket: number): boolean {
  return period !== 'month' && bucket % (period === 'hour' ? HOUR : DAY) === 0
}

/**
 * Splits stretches into what the periods with these starts cover, merging neighbours, and what is left. Only whole periods
 * within a stretch count. Stretches and starts are ascending.
 *
 *     [8:30, 11:30) by the hours of 9:00 and 10:00: covered [9:00, 11:00), left [8:30, 9:00) and [11:00, 11:30)
 */
export function cover(
  stretches: Interval[],
  period: PeriodName,
  starts: number[],
): { covered: Interval[]; left: Interval[] } {
  const covered: Interval[] = []
  const left: Interval[] = []
  let next = 0
  for (const { from, to } of stretches) {
    let at = from
    for (; next < starts.length && starts[next]! < to; next++) {
      const start = starts[next]!
      const end = periodEnd(period, start)
      if (start < at || end > to) continue
      if (start > at) left.push({ from: at, to: start })
      const last = covered.at(-1)
      if (last?.to === start) last.to = end
      else covered.push({ from: start, to: end })
      at = end
    }
    if (at < to) left.push({ from: at, to })
  }
  return { covered, left }
}
