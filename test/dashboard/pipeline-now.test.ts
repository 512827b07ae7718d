import { describe, expect, test } from '@jest/globals'
import { Ledger } from '../../src/core/window/ledger'
import { pipelineNow, workflowLinks } from '../../src/dashboard/pipeline-now'
import type { IngestStatus, WindowProgress } from '../../src/contract/messages'

const MINUTE = 60_000
const W0 = Date.UTC(2026, 0, 1, 12)
const settings = {
  group: 'shop',
  topic: 'clicks',
  windowSize: 5 * MINUTE,
  watermarkDelay: MINUTE,
  allowedLateness: 0,
  idleTimeout: 10_000,
  maxFuture: MINUTE,
  maxGroups: 1_000,
  flushInterval: 5_000,
  referrer: 'full' as const,
}

function progress(fields: Partial<WindowProgress>): WindowProgress {
  const none = {
    hits: 0,
    unlocated: 0,
    groups: 0,
    deltas: 0,
    repeats: 0,
    pieces: 0,
    staged: 0,
    revision: 0,
    lateHits: 0,
  }
  return { state: 'open', stuck: undefined, ...none, ...fields }
}

describe('windows that were told to close', () => {
  const ledger = { ...new Ledger(settings).snapshot(), openWindows: [W0 + 10 * MINUTE], closed: 2 }
  const status: IngestStatus = { settings, pollers: 1, paused: 0, running: [1], ledger, frontier: W0 }
  const stuck = { step: 'write revision 1', since: W0 + 12 * MINUTE, reason: 'No room.' }

  test('are there until they have ended, with what keeps them from it', () => {
    const asked = new Map([
      [W0, progress({ state: 'closing', hits: 7, stuck })],
      [W0 + 5 * MINUTE, progress({ state: 'closed', hits: 8 })],
      [W0 + 10 * MINUTE, progress({ hits: 9 })],
    ])
    const now = pipelineNow(status, asked, workflowLinks('http://127.0.0.1:8233', 'default'))
    expect(now.openCount).toBe(2)
    expect(now.open.map(({ start, state, hits, stuck }) => ({ start, state, hits, stuck }))).toEqual([
      { start: W0, state: 'closing', hits: 7, stuck },
      { start: W0 + 10 * MINUTE, state: 'open', hits: 9, stuck: null },
    ])
  })
})
