import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits, and keeps a consumer's session alive meanwhile.
 *
 * @param over whether it is no longer waited for
 */
export async function keepingSession(
  awaited: Promise<void>,
  heartbeat: () => Promise<void>,
  over: () => boolean,
): Promise<void> {
  let waiting = true
  const done = awaited.then(() => {
    waiting = false
  })
  while (waiting && !over()) {
    await Promise.race([done, sleep(1_000)])
    await heartbeat()
  }
}
