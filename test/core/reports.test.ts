import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { GroupCounter } from '../../src/core/counts/columnar'
import { Ledger } from '../../src/core/window/ledger'
import { describeLedger } from '../../src/workflows/ledger-report'
import { code } from '../../src/contract/markdown'
import { describeWindow, type WindowReport } from '../../src/workflows/window-report'
import { formatWindow } from '../../src/core/window/tumbling-window'
import { grouped } from '../../src/core/numbers'
import { newSettings } from '../support/settings'

const MINUTE = 60_000
const W0 = Date.UTC(2026, 0, 1, 12)
const settings = newSettings({ group: 'shop', topic: 'clicks', maxGroups: 1_000 })

describe('untrusted text in Markdown', () => {
  test('stays in its cell, on its line and in its code', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), text => {
        const shown = code(text)
        expect(shown).toMatch(/^`[^`|\p{C}\p{Zl}\p{Zp}]*`$/u)
        expect([...shown].length).toBeLessThanOrEqual(83)
      }),
    )
  })

  test('is unchanged if it is harmless', () => {
    expect(code('https://search.example/?q=1')).toBe('`https://search.example/?q=1`')
    expect(code('a'.repeat(81))).toBe(`\`${'a'.repeat(80)}…\``)
  })

  test('figures are grouped by thousands', () => {
    expect([0, 999, 1_000, 1_234_567].map(grouped)).toEqual(['0', '999', '1,000', '1,234,567'])
  })
})

describe('a window', () => {
  function reportOf(fields: Partial<WindowReport>, referrers: Record<string, number> = {}): string {
    const counter = new GroupCounter()
    for (const [referrer, hits] of Object.entries(referrers)) counter.add('a.example', referrer, 'DE', hits)
    const numbers = {
      hits: counter.hits,
      deltas: 1,
      repeats: 0,
      unlocated: 0,
      revision: 0,
      lateHits: 0,
      pieces: 0,
      staged: 0,
    }
    const lists = { overlaps: [], applied: [], counts: counter.columns() }
    const state = { state: 'open', told: 'wait', stuck: undefined, outcome: undefined } as const
    const name = formatWindow(W0, settings.windowSize)
    return describeWindow({ settings, start: W0, name, ...state, ...numbers, ...lists, ...fields })
  }

  test('that is open shows its progress and what it waits for', () => {
    const report = reportOf({}, { 'https://a.example/': 1_500, '': 2 })
    expect(report).toContain('2026-01-01 12:00–12:05 is open')
    expect(report).toContain('**1,502** hits in **2** groups')
    expect(report).toContain('watermark of every partition to reach 2026-01-01T12:05:00Z')
    expect(report).toContain('`shop/ingest`')
    expect(report).toContain('is behind')
    expect(report.indexOf('| `https://a.example/` | 1,500 |')).toBeGreaterThan(0)
    expect(report).toContain('| (none) | 2 |')
  })

  test('shows how many lookups failed, and the command that repeats them', () => {
    expect(reportOf({})).not.toContain('lookup')
    const report = reportOf({ unlocated: 1_234 })
    expect(report).toContain('**1,234 hits** are under `??` because their lookup failed')
    expect(report).toContain('`web-traffic replay --unlocated`')
  })

  test('lists its ten most frequent referrers', () => {
    const report = reportOf({}, Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`r${i}`, i + 1])))
    const named = [...report.matchAll(/\| `(r\d+)` \| (\d+) \|/g)].map(([, name, hits]) => [
      name,
      Number(hits),
    ])
    expect(named).toEqual(Array.from({ length: 10 }, (_, i) => [`r${29 - i}`, 30 - i]))
  })

  test('that all partitions have passed waits only for the clock', () => {
    const report = reportOf({ told: 'close' })
    expect(report).toContain('it waits for the clock to pass 2026-01-01T12:06:00Z')
    expect(report).not.toContain('is behind')
  })

  test('that is stuck shows the step and since when', () => {
    const report = reportOf({ state: 'closing', stuck: { step: 'write revision 1', since: W0 } })
    expect(report).toContain('is stuck')
    expect(report).toContain('since 2026-01-01T12:00:00Z it has tried to write revision 1')
  })

  test('that has ended shows its outcome', () => {
    expect(reportOf({ state: 'closed', outcome: 'All was written.' })).toContain('All was written.')
  })
})

describe('the ledger', () => {
  /** Partition 0 is done to minute 20, partition 1 to minute `other`; the windows of minutes 0 and 5 are open. */
  function reportOf(other: number, partitionCount = 2): string {
    const ledger = new Ledger(settings)
    const earliest = [0, 1].map(partition => ({ partition, earliest: 0 }))
    ledger.claim({ poller: 1, partitionCount, partitions: earliest })
    const flush = (partition: number, minute: number) => {
      const windows = [W0, W0 + 5 * MINUTE]
      const totals = { records: 1_000, hits: 1_000, late: 0, rejected: 0 }
      const basis = W0 + minute * MINUTE
      const end = partition === 0 ? 1_000 : 3_500
      const request = { poller: 1, partitionCount }
      ledger.flush(
        {
          ...request,
          partitions: [{ partition, epoch: 1, end: 1_000, announce: { from: 0, to: 1_000, windows } }],
        },
        W0,
      )
      ledger.flush(
        {
          ...request,
          partitions: [{ partition, epoch: 1, end, done: { to: 1_000, basis, totals } }],
        },
        W0,
      )
    }
    flush(0, 20)
    flush(1, other)
    return describeLedger(ledger, settings)
  }

  test('names the partition that delays the oldest window, and its watermark', () => {
    const report = reportOf(3)
    expect(report).toContain(
      '**2026-01-01 12:00–12:05**, waits for 2026-01-01T12:05:00Z in partition 1: watermark 2026-01-01T12:02:00Z.',
    )
    expect(report).toContain('**2,000** records done')
    expect(report).toMatch(
      /\| 0 \| 1 \| 1,000 \| 0 \| 2026-01-01T12:19:00Z \|.*\| 1,000 \| 1,000 \| 0 \| 0 \|/,
    )
  })

  test('shows the lag that its pollers last reported', () => {
    const report = reportOf(3)
    expect(report).toContain('Lag: **2,500** records.')
    expect(report).toContain('| 1 | 1 | 1,000 | 2,500 | 2026-01-01T12:02:00Z |')
    expect(reportOf(3, 3)).toContain('Lag: **2,500** records.')
  })

  test('names a partition that nobody has claimed', () => {
    expect(reportOf(20, 3)).toContain('in partition 2: no poller has claimed it yet.')
  })

  test('does not blame a partition that has passed it', () => {
    expect(reportOf(20)).toContain('waits for no partition')
  })
})
