import { proxyActivities, setHandler, workflowInfo } from '@temporalio/workflow'
import type { Activities } from '../contract/activities'
import { joinSentences } from '../contract/markdown'
import { recountProgress } from '../contract/messages'
import { counted } from '../core/numbers'
import type { PipelineSettings } from '../core/settings'
import type { WindowSelection } from '../core/window/recount'
import { formatInstant } from '../core/window/tumbling-window'
import { describeWhenAsked } from './details'

const retry = { initialInterval: '1s', maximumInterval: '10s' } as const

const { selectWindows } = proxyActivities<Activities>({
  startToCloseTimeout: '1m',
  heartbeatTimeout: '10s',
  retry,
})

/** Activities that read a part of the log again. */
export const batches = proxyActivities<Activities>({
  startToCloseTimeout: '6h',
  heartbeatTimeout: '20s',
  retry,
})

/** Windows that are counted again, oldest first, as many at a time as fit in one pass over the log. */
export class Recount {
  /** The windows of the current pass. */
  private batch = ''

  /**
   * @param step the name of a pass in the Web UI, such as `verify`
   * @param progress what is done, in sentences; empty if that is nothing
   */
  constructor(
    private readonly step: string,
    private readonly progress: () => string,
    details = (progress: string) => progress,
  ) {
    setHandler(recountProgress, () => this.describe())
    describeWhenAsked(() => details(this.describe()))
  }

  private describe(): string {
    return joinSentences(this.progress(), this.batch && `Now: ${this.batch}.`) || 'Selecting windows.'
  }

  /** @param continueWith continues as new with the rest of the selection once the history has grown long */
  async run(
    settings: PipelineSettings,
    selection: WindowSelection,
    pass: (starts: number[], options: { summary: string }) => Promise<void>,
    continueWith: (rest: WindowSelection) => Promise<never>,
  ): Promise<void> {
    let rest = selection
    for (;;) {
      const starts = await selectWindows({ settings, ...rest })
      const last = starts.at(-1)
      if (last === undefined) return
      const end = formatInstant(last + settings.windowSize)
      this.batch = `${counted(starts.length, 'window')}, ${formatInstant(starts[0]!)} to ${end}`
      await pass(starts, { summary: `${this.step} ${this.batch}` })
      this.batch = ''
      rest = { ...rest, from: last + 1 }
      if (workflowInfo().continueAsNewSuggested) await continueWith(rest)
    }
  }
}

/** Adds to a list of examples up to `max` in total. */
export function addExamples<T>(examples: T[], found: T[], max: number): void {
  examples.push(...found.slice(0, max - examples.length))
}
