import {
  CancellationScope,
  condition,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import { Retries, type Refusal } from './retries'
import { statusAttributes, windowStatus, type WindowStatus } from '../contract/search-attributes'
import type { Stuck } from '../contract/messages'

/** A step that has not succeeded after so long is shown as stuck: by then it has failed a few times. */
const STUCK_AFTER = 20_000

/** A moment (epoch ms) by the clock, which a timer that runs already tells. */
export interface Moment {
  at: number
  passed: boolean
}

interface Bounds {
  needed: Moment
  givenUp: () => boolean
}

/** What the list of workflows shows of a window. Each change is a step, so only what differs is said. */
export class WindowVisibility {
  private status = workflowInfo().typedSearchAttributes.get(windowStatus) as WindowStatus | undefined
  stuck: Stuck | undefined
  private readonly retries = new Retries()

  constructor(private readonly result: () => { revision: number; lateHits: number }) {}

  show(status: WindowStatus): void {
    // A published window's revision changes with every correction.
    if (status === this.status && status !== 'published') return
    this.status = status
    const { revision, lateHits } = this.result()
    upsertSearchAttributes(statusAttributes(status, revision, lateHits))
  }

  /**
   * Shows the window as stuck, for a reason that only a person can end, until `ask` finds that it has ended. It looks on
   * the signal `retry`, and every hour.
   */
  async untilRepaired<T>(reason: string, ask: () => Promise<T | null>): Promise<T> {
    this.stuck = { step: 'close', since: Date.now(), reason }
    this.show('stuck')
    for (;;) {
      await this.retries.untilAsked('1h', 'incomplete: waits to be repaired')
      const found = await this.retries.untilDone('ask Postgres', ask, () => undefined)
      if (!found) continue
      this.stuck = undefined
      return found
    }
  }

  /**
   * Runs a step until it succeeds. A workflow does not see the failures that its activities repeat, but it can see that
   * one takes longer than it should: then the window is found as stuck until the step succeeds, and at once where it was
   * refused for good.
   *
   * @param needed a moment before which nobody waits for the step: its timer takes the place of one more
   * @param givenUp when nobody waits any more: then it is undefined
   */
  async watched<T>(step: string, run: () => Promise<T>): Promise<T>
  async watched<T>(step: string, run: () => Promise<T>, until: Partial<Bounds>): Promise<T | undefined>
  async watched<T>(
    step: string,
    run: () => Promise<T>,
    { needed, givenUp }: Partial<Bounds> = {},
  ): Promise<T | undefined> {
    const since = Date.now()
    // A run that continues one that was stuck takes its status over.
    const usual = !this.status || this.status === 'stuck' ? 'open' : this.status
    const stick = (refusal?: Refusal) => {
      this.stuck = { step, since, ...refusal }
      this.show('stuck')
    }
    const done = this.retries.untilDone(step, run, stick)
    const watch = new CancellationScope()
    const overdue = watch.run(() =>
      needed && needed.at > since + STUCK_AFTER
        ? condition(() => needed.passed)
        : sleep(STUCK_AFTER, { summary: `${step}: stuck if it takes longer` }),
    )
    overdue.then(
      () => this.stuck ?? stick(),
      () => undefined,
    )
    const ended = givenUp ? Promise.race([done, condition(givenUp).then(() => undefined)]) : done
    try {
      return await ended
    } finally {
      watch.cancel()
      if (this.stuck) this.show(usual)
      this.stuck = undefined
    }
  }
}
