import { randomUUID } from 'node:crypto'
import type { PipelineSettings } from '../../src/core/settings'

const MINUTE = 60_000

/** The settings of a pipeline that shares nothing with any other test. */
export function newSettings(fields: Partial<PipelineSettings> = {}): PipelineSettings {
  return {
    group: `test-${randomUUID()}`,
    topic: 'web_traffic_topic',
    windowSize: 5 * MINUTE,
    watermarkDelay: MINUTE,
    allowedLateness: 0,
    maxGroups: 250_000,
    idleTimeout: 10_000,
    maxFuture: MINUTE,
    flushInterval: 5_000,
    referrer: 'full',
    ...fields,
  }
}
