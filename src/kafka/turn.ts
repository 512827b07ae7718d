import { setImmediate as yieldToOthers, setTimeout as sleep } from 'node:timers/promises'

/** How long work may block the event loop, ms. */
const TURN = 20
const STEP = 32

/** Bounds how long records are processed before heartbeats and other work get a turn. */
export class Turn {
  private end = performance.now() + TURN

  get over(): boolean {
    return performance.now() >= this.end
  }

  async pass(heartbeat: () => Promise<void>): Promise<void> {
    await Promise.all([yieldToOthers(), heartbeat()])
    this.end = performance.now() + TURN
  }
}

/** Splits the records into steps; no records are one empty step. */
export function* inSteps<T>(records: readonly T[]): Generator<T[]> {
  let at = 0
  do yield records.slice(at, (at += STEP))
  while (at < records.length)
}

/** Waits for `awaited`, or until `over` returns true, while keeping the consumer's session alive. */
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
