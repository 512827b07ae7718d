import { proxyActivities } from '@temporalio/workflow'
import type { Activities } from '../activities/types'
import type { PipelineSettings } from '../core/settings'
import { formatInstant } from '../core/tumbling-window'

/** Which closed windows are counted anew: those that begin and end within `[from, to)`, epoch ms, where it is given. */
export interface Selection {
  from?: number
  to?: number
  /** Only those with late events that are in no result. */
  late?: boolean
}

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

/** The windows of the next pass, oldest first; none where the selection is done. */
export function nextWindows(settings: PipelineSettings, selection: Selection): Promise<number[]> {
  return selectWindows({ settings, ...selection })
}

/** What is left of the selection after these windows. */
export function after(selection: Selection, starts: number[]): Selection {
  return { ...selection, from: starts[starts.length - 1]! + 1 }
}

/** `12:00:00Z to 12:30:00Z, 6 windows`: for people. */
export function describeBatch(starts: number[], { windowSize }: PipelineSettings): string {
  const end = starts[starts.length - 1]! + windowSize
  const windows = `${starts.length} window${starts.length === 1 ? '' : 's'}`
  return `${windows}, ${formatInstant(starts[0]!)} to ${formatInstant(end)}`
}
