import { setTimeout as sleep } from 'node:timers/promises'

/** Waits for a condition, and fails where it does not come true. */
export async function until(condition: () => boolean | Promise<boolean>, within = 60_000): Promise<void> {
  const begun = Date.now()
  while (!(await condition())) {
    const waited = Date.now() - begun
    if (waited > within) throw new Error(`not within ${within} ms: ${String(condition)}`)
    // Asking is work for the servers too: what takes long is asked for more rarely.
    await sleep(Math.min(20 + waited / 20, 200))
  }
}
