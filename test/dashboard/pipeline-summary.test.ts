import { describe, expect, test } from '@jest/globals'
import { Ledger } from '../../src/core/window/ledger'
import { summarizePipeline, workflowUrls } from '../../src/dashboard/pipeline-summary'
import type { IngestStatus, WindowProgress } from '../../src/contract/messages'
import { newSettings } from '../support/settings'

const MINUTE = 60_000
const W0 = Date.UTC(2026, 0, 1, 12)
const settings = newSettings({ group: 'shop', topic: 'clicks', maxGroups: 1_000 })

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

describe('closing windows', () => {
  const ledger = { ...new Ledger(settings).snapshot(), openWindows: [W0 + 10 * MINUTE], closed: 2 }
  const status: IngestStatus = { settings, pollers: 1, paused: 0, running: [1], ledger, frontier: W0 }
  const stuck = { step: 'write revision 1', since: W0 + 12 * MINUTE, reason: 'No room.' }

  test('are listed until they are closed, with the reason if they are stuck', () => {
    const progresses = new Map([
      [W0, progress({ state: 'closing', hits: 7, stuck })],
      [W0 + 5 * MINUTE, progress({ state: 'closed', hits: 8 })],
      [W0 + 10 * MINUTE, progress({ hits: 9 })],
    ])
    const summary = summarizePipeline(status, progresses, workflowUrls('http://127.0.0.1:8233', 'default'))
    expect(summary.openCount).toBe(2)
    expect(summary.open.map(({ start, progress }) => ({ start, progress }))).toEqual([
      { start: W0, progress: progress({ state: 'closing', hits: 7, stuck }) },
      { start: W0 + 10 * MINUTE, progress: progress({ hits: 9 }) },
    ])
  })
})
