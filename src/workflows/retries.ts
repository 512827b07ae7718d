import { ActivityFailure, condition, isCancellation, setHandler } from '@temporalio/workflow'
import { retry } from '../contract/messages'

/** Why a step was given up on for now. */
export interface Refusal {
  reason: string
  /** When it is tried again by itself, epoch ms. */
  nextTry: number
}

const FIRST_WAIT = 60_000
const LONGEST_WAIT = 3_600_000

/**
 * Steps that have to succeed in the end. What fails in passing its activity's retry policy repeats; what fails for good
 * waits for a person to mend it and to say so with the signal `retry`, and is tried by itself ever more rarely.
 */
export class Retries {
  private asked = false

  constructor() {
    setHandler(retry, () => {
      this.asked = true
    })
  }

  /** Waits for the signal `retry`, and for so long at most. */
  async untilAsked(wait: '1h', summary: string): Promise<void> {
    this.asked = false
    await condition(() => this.asked, wait, { summary })
  }

  /** @param step for people, as in `write revision 1` */
  async untilDone<T>(step: string, run: () => Promise<T>, onRefused: (refusal: Refusal) => void): Promise<T> {
    for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
      // Whoever asks while the step is tried may have mended it after it looked.
      this.asked = false
      try {
        return await run()
      } catch (error) {
        if (!(error instanceof ActivityFailure) || isCancellation(error)) throw error
        onRefused({ reason: error.cause?.message ?? error.message, nextTry: Date.now() + wait })
      }
      await condition(() => this.asked, wait, {
        summary: `${step}: refused, tried again after this or when told`,
      })
    }
  }
}
