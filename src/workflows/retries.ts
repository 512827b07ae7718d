import { ActivityFailure, condition, isCancellation, setHandler } from '@temporalio/workflow'
import { retry } from '../contract/messages'

/** A permanent failure. */
export interface Refusal {
  reason: string
  /** Time of the next automatic retry, epoch ms. */
  nextTry: number
}

const MIN_WAIT = 60_000
const MAX_WAIT = 3_600_000

/**
 * Retries steps that have to succeed in the end. An activity's retry policy repeats transient failures; a permanent one
 * is retried on the signal `retry`, or automatically at growing intervals.
 */
export class Retries {
  private asked = false

  constructor() {
    setHandler(retry, () => {
      this.asked = true
    })
  }

  /** Waits for the signal `retry`, but no longer than `wait`. */
  async untilAsked(wait: '1h', summary: string): Promise<void> {
    this.asked = false
    await condition(() => this.asked, wait, { summary })
  }

  /** @param step for people, such as `write revision 1` */
  async untilDone<T>(step: string, run: () => Promise<T>, onRefused: (refusal: Refusal) => void): Promise<T> {
    for (let wait = MIN_WAIT; ; wait = Math.min(wait * 2, MAX_WAIT)) {
      // A signal during the attempt counts: the cause may have been fixed after the attempt looked.
      this.asked = false
      try {
        return await run()
      } catch (error) {
        if (!(error instanceof ActivityFailure) || isCancellation(error)) throw error
        onRefused({ reason: error.cause?.message ?? error.message, nextTry: Date.now() + wait })
      }
      await condition(() => this.asked, wait, { summary: `${step}: failed; retry after this or on a signal` })
    }
  }
}
