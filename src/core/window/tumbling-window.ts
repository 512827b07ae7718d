/** Start of the tumbling window, aligned to UTC, that contains an event time (epoch ms). */
export function windowStart(eventTime: number, windowSize: number): number {
  return Math.floor(eventTime / windowSize) * windowSize
}

/** `2015-05-17T10:05:00Z`: the name of a window in workflow ids and on the terminal. */
export function formatInstant(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z')
}

/** `2015-05-17 10:05–10:10`, with seconds if the window size is not in whole minutes. */
export function formatWindow(start: number, windowSize: number): string {
  const clock = windowSize % 60_000 === 0 ? 16 : 19
  const from = new Date(start).toISOString()
  const to = new Date(start + windowSize).toISOString()
  return `${from.slice(0, 10)} ${from.slice(11, clock)}–${to.slice(11, clock)}`
}
