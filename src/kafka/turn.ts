import { setImmediate as yieldToOthers } from 'node:timers/promises'

/** Work goes on for so long, ms, before others, such as heartbeats, have their turn, however slow the records are. */
const TURN = 20
/** Records worked on between two looks at the clock. */
export const STEP = 32

/** Bounds by time how long records are worked on in one go. */
export class Turn {
  private end = performance.now() + TURN

  get over(): boolean {
    return performance.now() >= this.end
  }

  /** Lets others have theirs, and begins again. */
  async pass(heartbeat: () => Promise<void>): Promise<void> {
    await Promise.all([yieldToOthers(), heartbeat()])
    this.end = performance.now() + TURN
  }
}

/** The records in steps. */
export function* inSteps<T>(records: readonly T[]): Generator<T[]> {
  for (let at = 0; at < records.length; at += STEP) yield records.slice(at, at + STEP)
}
