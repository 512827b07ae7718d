/**
 * Event time of one partition.
 *
 * The basis is the largest `min(event_time, record timestamp)` accepted so far, null before the first event; the
 * watermark is the basis minus the watermark delay. The minimum keeps a wrong `event_time` from pushing the watermark
 * past its record's timestamp: the moment of arrival where the broker sets it (LogAppendTime), and else what the producer
 * takes for now. All times are epoch milliseconds.
 */
export type MaxEventTime = number | null

export function advance(basis: MaxEventTime, eventTime: number, recordTimestamp: number): number {
  const seen = Math.min(eventTime, recordTimestamp)
  return basis === null || seen > basis ? seen : basis
}

/** The partition's watermark; before the first event it is behind every window. */
export function watermark(basis: MaxEventTime, watermarkDelay: number): number {
  return basis === null ? -Infinity : basis - watermarkDelay
}

/**
 * An event is late if and only if, at its place in its partition, its window's end plus the allowed lateness is not
 * after the watermark.
 */
export function isLate(
  windowEnd: number,
  basis: MaxEventTime,
  rules: { watermarkDelay: number; allowedLateness: number },
): boolean {
  return windowEnd + rules.allowedLateness <= watermark(basis, rules.watermarkDelay)
}

/** Whether the watermark has passed the end of a window on its way from one basis to another. */
export function passesWindowEnd(
  before: MaxEventTime,
  after: MaxEventTime,
  { windowSize, watermarkDelay }: { windowSize: number; watermarkDelay: number },
): boolean {
  const windows = (basis: MaxEventTime) => Math.floor(watermark(basis, watermarkDelay) / windowSize)
  return before !== after && windows(before) !== windows(after)
}
