import { defineSearchAttributeKey, type SearchAttributePair } from '@temporalio/common'
import { formatDuration } from '../core/duration'
import type { PipelineSettings } from '../core/settings'

/** What the list of workflows can be filtered and sorted by; `searchAttributes` registers them. */
const pipeline = defineSearchAttributeKey('Pipeline', 'KEYWORD')
export const windowStart = defineSearchAttributeKey('WindowStart', 'DATETIME')
const windowEnd = defineSearchAttributeKey('WindowEnd', 'DATETIME')
export const windowStatus = defineSearchAttributeKey('WindowStatus', 'KEYWORD')
const windowRevision = defineSearchAttributeKey('WindowRevision', 'INT')
const lateHits = defineSearchAttributeKey('LateHits', 'INT')

/** All of them: a namespace that lacks one refuses what bears it. */
export const searchAttributes = [pipeline, windowStart, windowEnd, windowStatus, windowRevision, lateHits]

/**
 * `open` from the first event on; `published` while corrections may come; `stuck` while a step waits for Postgres
 * longer than it should; `closed` at the end.
 */
export type WindowStatus = 'open' | 'published' | 'stuck' | 'closed'

/** Borne by every workflow of a pipeline from its start. */
export function pipelineAttributes({ group }: Pick<PipelineSettings, 'group'>): SearchAttributePair[] {
  return [{ key: pipeline, value: group }]
}

/** Borne by a window from its start, which costs no step of its own. */
export function windowAttributes(settings: PipelineSettings, start: number): SearchAttributePair[] {
  return [
    ...pipelineAttributes(settings),
    { key: windowStart, value: new Date(start) },
    { key: windowEnd, value: new Date(start + settings.windowSize) },
    { key: windowStatus, value: 'open' satisfies WindowStatus },
  ]
}

/** Each change is a step of the history, so a window makes few: only those that somebody looks for. */
export function statusAttributes(
  status: WindowStatus,
  revision: number,
  late: number,
): SearchAttributePair[] {
  return [
    { key: windowStatus, value: status },
    ...(revision > 0 ? [{ key: windowRevision, value: revision }] : []),
    ...(late > 0 ? [{ key: lateHits, value: late }] : []),
  ]
}

/** What of its pipeline matters to who looks at one window. */
export function windowMemo({
  topic,
  watermarkDelay,
  allowedLateness,
}: PipelineSettings): Record<string, string> {
  return {
    topic,
    watermarkDelay: formatDuration(watermarkDelay),
    allowedLateness: formatDuration(allowedLateness),
  }
}
