import { defineSearchAttributeKey, type SearchAttributePair } from '@temporalio/common'
import { formatDuration } from '../core/duration'
import type { PipelineSettings } from '../core/settings'

/** The list of workflows can be filtered and sorted by these. */
const pipeline = defineSearchAttributeKey('Pipeline', 'KEYWORD')
export const windowStart = defineSearchAttributeKey('WindowStart', 'DATETIME')
const windowEnd = defineSearchAttributeKey('WindowEnd', 'DATETIME')
export const windowStatus = defineSearchAttributeKey('WindowStatus', 'KEYWORD')
const windowRevision = defineSearchAttributeKey('WindowRevision', 'INT')
const lateHits = defineSearchAttributeKey('LateHits', 'INT')

/** A namespace rejects workflows whose attributes are not registered. */
export const searchAttributes = [pipeline, windowStart, windowEnd, windowStatus, windowRevision, lateHits]

/** `published` while corrections may follow; `stuck` while a step in Postgres takes too long or needs a person. */
export type WindowStatus = 'open' | 'published' | 'stuck' | 'closed'

export function pipelineAttributes({ group }: Pick<PipelineSettings, 'group'>): SearchAttributePair[] {
  return [{ key: pipeline, value: group }]
}

/** Set at a window's start, which adds no event to its history. */
export function windowAttributes(settings: PipelineSettings, start: number): SearchAttributePair[] {
  return [
    ...pipelineAttributes(settings),
    { key: windowStart, value: new Date(start) },
    { key: windowEnd, value: new Date(start + settings.windowSize) },
    { key: windowStatus, value: 'open' satisfies WindowStatus },
  ]
}

/** Each change adds an event to the window's history. */
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

/** The pipeline's settings that matter for one window. */
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
