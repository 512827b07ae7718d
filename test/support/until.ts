import { setTimeout as sleep } from 'node:timers/promises'

/** Waits for a condition, and fails where it does not come true. */
export async function until(condition: () => boolean | Promise<boolean>, within = 60_000): Promise<void> {
  const end = Date.now() + within
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${within} ms: ${String(condition)}`)
    await sleep(20)
  }
}
