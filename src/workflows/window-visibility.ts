import {
  CancellationScope,
  condition,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import { statusAttributes, windowStatus, type WindowStatus } from './search-attributes'

/** A step that has not succeeded after so long is shown as stuck: by then it has failed a few times. */
const STUCK_AFTER = 20_000

/** A moment (epoch ms) by the clock, which a timer that runs already tells. */
export interface Moment {
  at: number
  passed: boolean
}

/** What the list of workflows shows of a window. Each change is a step, so only what differs is said. */
export class WindowVisibility {
  private status = workflowInfo().typedSearchAttributes.get(windowStatus) as WindowStatus | undefined
  /** The step that should have been done by now, and since when it has been tried, epoch ms. */
  stuck: { step: string; since: number } | undefined

  constructor(private readonly result: () => { revision: number; lateHits: number }) {}

  show(status: WindowStatus): void {
    // A published window's revision changes with every correction.
    if (status === this.status && status !== 'published') return
    this.status = status
    const { revision, lateHits } = this.result()
    upsertSearchAttributes(statusAttributes(status, revision, lateHits))
  }

  /**
   * A workflow does not see the failures of its activities, but it can see that one takes longer than it should: then
   * the window is found as stuck until the step succeeds.
   *
   * @param needed a moment before which nobody waits for the step: its timer takes the place of one more
   */
  async watched<T>(step: string, done: Promise<T>, needed?: Moment): Promise<T> {
    const since = Date.now()
    const usual = this.status ?? 'open'
    const watch = new CancellationScope()
    const overdue = watch.run(() =>
      needed && needed.at > since + STUCK_AFTER
        ? condition(() => needed.passed)
        : sleep(STUCK_AFTER, { summary: `${step}: stuck if it takes longer` }),
    )
    const stick = () => {
      this.stuck = { step, since }
      this.show('stuck')
    }
    overdue.then(stick, () => undefined)
    try {
      return await done
    } finally {
      watch.cancel()
      if (this.stuck) this.show(usual)
      this.stuck = undefined
    }
  }
}
