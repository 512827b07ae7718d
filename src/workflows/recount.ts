import { proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { Activities } from '../contract/activities'
import type { WindowSelection } from '../core/window/recount'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/window/tumbling-window'

const { selectWindows } = proxyActivities<Activities>({
  startToCloseTimeout: '1m',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '1s', maximumInterval: '10s' },
})

/** Activities that read the log again: each batch is a pass over a part of it. */
export const batches = proxyActivities<Activities>({
  startToCloseTimeout: '6h',
  heartbeatTimeout: '20s',
  retry: { initialInterval: '1s', maximumInterval: '10s' },
})

/**
 * Goes through a selection, oldest first, with as many windows at a time as are counted anew in one pass.
 *
 * @param pass counts these windows anew; they are described for people
 * @param goOn continues as new with what is left, when the history has grown long
 */
export async function passByPass(
  settings: PipelineSettings,
  selection: WindowSelection,
  pass: (starts: number[], described: string) => Promise<void>,
  goOn: (rest: WindowSelection) => Promise<never>,
): Promise<void> {
  let rest = selection
  for (;;) {
    const starts = await selectWindows({ settings, ...rest })
    if (starts.length === 0) return
    await pass(starts, describeBatch(starts, settings))
    rest = { ...rest, from: starts[starts.length - 1]! + 1 }
    if (workflowInfo().continueAsNewSuggested) await goOn(rest)
  }
}

/** `6 windows, 2026-01-31T12:00:00Z to 2026-01-31T12:30:00Z`: for people. */
function describeBatch(starts: number[], { windowSize }: PipelineSettings): string {
  const end = starts[starts.length - 1]! + windowSize
  const windows = `${starts.length} window${starts.length === 1 ? '' : 's'}`
  return `${windows}, ${formatInstant(starts[0]!)} to ${formatInstant(end)}`
}
