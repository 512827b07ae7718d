import { ApplicationFailure, type MetricMeter } from '@temporalio/common'
import type { Activities } from '../contract/activities'
import { createCounters, label } from './instruments'

type Step = Exclude<keyof Activities, 'pollKafka'>
type Outcomes = {
  [S in Step]?: (result: Awaited<ReturnType<Activities[S]>>, input: Parameters<Activities[S]>[0]) => void
}

const KINDS = ['postgres_transient', 'postgres_permanent', 'lookup', 'other'] as const

/** Duration, failures and outcomes of the activities that use Postgres. A repeated step is counted again. */
export class StepMetrics {
  private readonly counters
  private readonly duration
  private readonly rows
  private readonly closeDelay

  constructor(meter: MetricMeter) {
    this.counters = createCounters(meter, {
      step_failures: ['Failed attempts of a step, by kind', []],
      window_writes: ['Window results, by outcome', label('outcome', ['written', 'unchanged'])],
      folded_hits: ['Hits of closed windows counted under (other)'],
      late: ['Late events, by cause', label('cause', ['closed'])],
      repeats: ['Repeats that were dropped', label('of', ['delta', 'exceptions'])],
      overlaps: ['Deltas that contradict what a window has applied, and were not counted'],
      // Workflows add to it; see src/workflows/signal-if-running.ts.
      unheard_signals: [
        'Signals to windows and pollers that had ended, by signal',
        label('signal', ['publish', 'close', 'drain']),
      ],
      verified_windows: [
        'Windows compared with the log, by outcome',
        label('outcome', ['right', 'wrong', 'gone', 'lost']),
      ],
      verify_differences: ['Rows that differ from the log'],
      replayed_windows: [
        'Windows counted again, by outcome',
        label('outcome', ['replayed', 'unchanged', 'gone', 'lost']),
      ],
      brought_in: ['Late events that a replay added to a result'],
    })
    const seconds = (name: string, description: string) =>
      meter.createHistogram(`web_traffic_${name}`, 'float', 'seconds', description)
    this.duration = seconds('step_duration', 'Duration of a successful step')
    this.closeDelay = seconds('window_close_delay', 'From when a window was due until its first result')
    this.rows = meter.createHistogram('web_traffic_window_rows', 'int', undefined, 'Groups per window')
  }

  /** pollKafka is not measured: it has its own metrics. */
  measured(activities: Activities): Activities {
    const steps = (Object.keys(activities) as (keyof Activities)[]).filter(name => name !== 'pollKafka')
    const run = activities as unknown as Record<Step, (input: unknown) => Promise<unknown>>
    const measured = steps.map(step => {
      for (const kind of KINDS) this.counters.step_failures.add(0, { step, kind })
      const count = this.outcomes[step] as ((result: unknown, input: unknown) => void) | undefined
      const timed = async (input: unknown) => {
        const result = await this.timed(step, () => run[step](input))
        count?.(result, input)
        return result
      }
      return [step, timed]
    })
    return { ...activities, ...(Object.fromEntries(measured) as Partial<Activities>) }
  }

  private readonly outcomes: Outcomes = {
    writeWindow: ({ written, groups, otherHits }, { start, settings, revision, status }) => {
      this.counters.window_writes.add(1, { outcome: written ? 'written' : 'unchanged' })
      this.rows.record(groups)
      if (status === 'closed') this.counters.folded_hits.add(otherHits)
      const due = start + settings.windowSize + settings.watermarkDelay
      if (written && revision === 1) this.closeDelay.record(Math.max(0, Date.now() - due) / 1_000)
    },
    recordClosed: ({ lateHits, repeats, overlaps }) => {
      this.counters.late.add(lateHits, { cause: 'closed' })
      this.counters.repeats.add(repeats, { of: 'delta' })
      this.counters.overlaps.add(overlaps.length)
    },
    recordExceptions: (recorded, { ranges }) =>
      this.counters.repeats.add(ranges.length - recorded, { of: 'exceptions' }),
    verifyWindows: ({ right, wrong, gone, lost = [] }) => {
      const numbers = { right, wrong: wrong.length, gone: gone.length, lost: lost.length }
      for (const [outcome, windows] of Object.entries(numbers))
        this.counters.verified_windows.add(windows, { outcome })
      for (const { differences, more } of wrong)
        this.counters.verify_differences.add(differences.length + more)
    },
    replayWindows: ({ replayed, unchanged, gone, lost = [] }) => {
      const numbers = { replayed: replayed.length, unchanged, gone: gone.length, lost: lost.length }
      for (const [outcome, windows] of Object.entries(numbers))
        this.counters.replayed_windows.add(windows, { outcome })
      for (const { broughtIn } of replayed) this.counters.brought_in.add(broughtIn)
    },
  }

  private async timed<T>(step: Step, run: () => Promise<T>): Promise<T> {
    const since = performance.now()
    try {
      const result = await run()
      this.duration.record((performance.now() - since) / 1_000, { step })
      return result
    } catch (error) {
      this.counters.step_failures.add(1, { step, kind: kindOf(error) })
      throw error
    }
  }
}

function kindOf(error: unknown): (typeof KINDS)[number] {
  const type = error instanceof ApplicationFailure ? error.type : undefined
  if (type === 'LookupFailure') return 'lookup'
  if (type !== 'PostgresFailure') return 'other'
  return (error as ApplicationFailure).nonRetryable ? 'postgres_permanent' : 'postgres_transient'
}
