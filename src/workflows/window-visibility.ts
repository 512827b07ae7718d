import {
  CancellationScope,
  condition,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import type { Stuck } from '../contract/messages'
import { statusAttributes, windowStatus, type WindowStatus } from '../contract/search-attributes'
import { Retries, type Refusal } from './retries'

/** A step that takes longer than this has failed a few times already, and shows as stuck. */
const STUCK_AFTER = 20_000

/** A moment (epoch ms) for which a durable timer is running already. */
export interface Moment {
  at: number
  passed: boolean
}

export interface GiveUp {
  /** When to stop waiting for a step. */
  givenUp?: () => boolean
}

/** What the list of workflows shows of a window. Each change is an event in the history, so it sends only differences. */
export class WindowVisibility {
  private status = workflowInfo().typedSearchAttributes.get(windowStatus) as WindowStatus | undefined
  stuck: Stuck | undefined
  private readonly retries = new Retries()

  constructor(private readonly result: { readonly revision: number; readonly lateHits: number }) {}

  show(status: WindowStatus): void {
    // A published window's revision changes with every correction.
    if (status === this.status && status !== 'published') return
    this.status = status
    const { revision, lateHits } = this.result
    upsertSearchAttributes(statusAttributes(status, revision, lateHits))
  }

  /** Shows the window as stuck until `ask` finds a repair. Asks on the signal `retry`, and every hour. */
  async untilRepaired<T>(reason: string, ask: () => Promise<T | null>): Promise<T> {
    this.stuck = { step: 'close', since: Date.now(), reason }
    this.show('stuck')
    for (;;) {
      await this.retries.untilAsked('1h', 'incomplete: waiting for a repair')
      const found = await this.retries.untilDone('ask Postgres', ask, () => undefined)
      if (!found) continue
      this.stuck = undefined
      return found
    }
  }

  /**
   * Runs a step until it succeeds. A workflow does not see failures that Temporal retries, only that an activity takes
   * long: after {@link STUCK_AFTER}, or at once after a permanent failure, the window shows as stuck until the step
   * succeeds.
   *
   * @param until.needed the moment from which the window needs the step: it cannot be stuck before. Its timer is used
   *   instead of a timer of `STUCK_AFTER`
   * @param until.givenUp makes the step return undefined
   */
  async watched<T>(step: string, run: () => Promise<T>): Promise<T>
  async watched<T>(
    step: string,
    run: () => Promise<T>,
    until: GiveUp & { needed?: Moment },
  ): Promise<T | undefined>
  async watched<T>(
    step: string,
    run: () => Promise<T>,
    { needed, givenUp }: GiveUp & { needed?: Moment } = {},
  ): Promise<T | undefined> {
    const since = Date.now()
    // A run that continues a stuck one inherits its status.
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
