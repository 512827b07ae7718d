import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { MAX_PAYLOAD_BYTES } from '../../../src/temporal/message-bounds'
import { derivePoint, type Disturbance, type Point } from '../../../trials/sweep/points'
import { sizesTable } from '../../../trials/sweep/report'
import type { PointResult } from '../../../trials/sweep/result'
import { runPoint } from '../../../trials/sweep/run-point'
import { withTemporal } from '../../../src/temporal/connection'

const QUIET: Disturbance = { kind: 'none', during: 'load', after: 0, pause: 0, victim: 0 }
const PLAIN: Point = {
  ...derivePoint(1),
  skewed: false,
  hasEmptyPartition: false,
  text: 'ascii',
  draw: 'distinct',
  hosts: 3,
  late: 0,
  malformed: 0,
  workers: 1,
  flushInterval: '500ms',
  maxGroups: 250_000,
  liveFor: 0,
  disturbance: QUIET,
}

/** 14 MB of text, far more than fits into one message of 4 MB. */
const MANY_REFERRERS: Point = {
  ...PLAIN,
  number: 1,
  partitions: 16,
  windows: 1,
  records: 64_000,
  referrers: 64_000,
  referrerBytes: { min: 220, max: 220 },
  flushInterval: '5s',
  disturbance: { ...QUIET, kind: 'kill', after: 1_500 },
}
const MANY_WINDOWS: Point = {
  ...PLAIN,
  number: 2,
  partitions: 3,
  windows: 60,
  records: 6_000,
  referrers: 6_000,
  referrerBytes: { min: 20, max: 400 },
}
const LATE_AND_MALFORMED: Point = {
  ...PLAIN,
  number: 3,
  partitions: 4,
  windows: 8,
  records: 4_000,
  referrers: 300,
  referrerBytes: { min: 20, max: 2_048 },
  text: 'escaped',
  draw: 'repeated',
  late: 0.1,
  malformed: 0.1,
  liveFor: 3_000,
  disturbance: { ...QUIET, kind: 'restart', after: 1_000 },
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'web-traffic-sweep-test-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function run(point: Point): Promise<PointResult> {
  const { signal } = new AbortController()
  return withTemporal(client => runPoint(point, { client, folder, stalled: 60_000, signal }))
}

test('a window of many distinct referrers on 16 partitions is exact after its worker was killed', async () => {
  const result = await run(MANY_REFERRERS)
  expect(result.problems).toEqual([])
  expect(result).toMatchObject({ hits: 64_000, groups: 64_000, windows: 1, late: 0, rejected: 0 })
  expect(result.struck).toContain('SIGKILL')
  const largest = Math.max(...Object.values(result.sizes.events).map(({ value }) => value))
  expect(largest).toBeGreaterThan(1_000)
  expect(largest).toBeLessThan(MAX_PAYLOAD_BYTES)
  expect(sizesTable([result])).toContain('WorkflowExecutionSignaled')
})

test('many windows are exact', async () => {
  const result = await run(MANY_WINDOWS)
  expect(result.problems).toEqual([])
  expect(result).toMatchObject({ hits: 6_000, windows: 60 })
})

test('late and malformed records are exact after a restart under live traffic', async () => {
  const result = await run(LATE_AND_MALFORMED)
  expect(result.problems).toEqual([])
  expect(Math.min(result.hits, result.late, result.rejected)).toBeGreaterThan(100)
  expect(result.hits + result.late + result.rejected).toBe(4_000)
  expect(result.struck).toContain('SIGTERM')
})
