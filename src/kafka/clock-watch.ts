import { formatDuration } from '../core/duration'

/** The session with the group survives this, ms. */
const MAX_SET_BACK = 3_000

/**
 * kafkajs sends the group no heartbeat until a clock that was set back has caught up, and does not notice that it has lost
 * its partitions. A new consumer measures from the new time on.
 *
 * @param onSetBack receives an error each time this machine's clock is set back
 */
export function watchClock(onSetBack: (error: Error) => void): NodeJS.Timeout {
  // Constant, unless the clock is set.
  const difference = () => Date.now() - performance.now()
  let before = difference()
  return setInterval(() => {
    const setBack = before - difference()
    before = difference()
    if (setBack < MAX_SET_BACK) return
    const by = formatDuration(Math.round(setBack / 1_000) * 1_000)
    onSetBack(new Error(`The clock of this worker was set back by ${by}, so the poller starts again.`))
  }, 1_000)
}
