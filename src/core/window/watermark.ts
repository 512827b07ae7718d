/**
 * Event time of one partition, epoch milliseconds.
 *
 * The watermark is the basis minus the watermark delay. The basis is the largest `min(event_time, record timestamp)`
 * accepted so far, null before the first event; the minimum keeps a wrong `event_time` from pushing the watermark past
 * its record's timestamp.
 */
export type MaxEventTime = number | null

export function advance(basis: MaxEventTime, eventTime: number, recordTimestamp: number): number {
  const seen = Math.min(eventTime, recordTimestamp)
  return basis === null || seen > basis ? seen : basis
}

/** Whether a watermark with this basis would be behind one with the other basis. */
export function isBehind(basis: MaxEventTime, other: MaxEventTime): boolean {
  return other !== null && (basis === null || basis < other)
}

/** The partition's watermark; before the first event it is behind every window. */
export function watermark(basis: MaxEventTime, watermarkDelay: number): number {
  return basis === null ? -Infinity : basis - watermarkDelay
}

/**
 * An event is late if and only if, at its position in its partition, its window's end plus the allowed lateness is not
 * after the watermark.
 */
export function isLate(
  windowEnd: number,
  basis: MaxEventTime,
  rules: { watermarkDelay: number; allowedLateness: number },
): boolean {
  return windowEnd + rules.allowedLateness <= watermark(basis, rules.watermarkDelay)
}

/** Whether the watermark passes the end of a window between two bases. */
export function passesWindowEnd(
  before: MaxEventTime,
  after: MaxEventTime,
  { windowSize, watermarkDelay }: { windowSize: number; watermarkDelay: number },
): boolean {
  const windows = (basis: MaxEventTime) => Math.floor(watermark(basis, watermarkDelay) / windowSize)
  return before !== after && windows(before) !== windows(after)
}
