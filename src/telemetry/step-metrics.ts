import { ApplicationFailure, type MetricMeter } from '@temporalio/common'
import type { Activities } from '../contract/activities'

type Step = Exclude<keyof Activities, 'pollKafka'>
type FailureKind = 'postgres_transient' | 'postgres_permanent' | 'lookup' | 'other'

/** Every step, so that its failures are there from the start, at 0. */
const STEPS: Record<Step, true> = {
  openWindow: true,
  writeWindow: true,
  stagePiece: true,
  recordClosed: true,
  recordExceptions: true,
  selectWindows: true,
  replayWindows: true,
  repairWindow: true,
  findUnsettled: true,
  verifyWindows: true,
  findMissing: true,
  recoverWrites: true,
  maintainTables: true,
}
const KINDS: FailureKind[] = ['postgres_transient', 'postgres_permanent', 'lookup', 'other']

/**
 * How long the activities that use Postgres take, what they fail with, and what came of them. A step whose answer was
 * lost is run again, and counted again.
 */
export class StepMetrics {
  private readonly duration
  private readonly failures
  private readonly rows
  private readonly closeDelay
  private readonly writes
  private readonly folded
  private readonly late
  private readonly repeats
  private readonly overlaps
  private readonly verified
  private readonly differences
  private readonly replayed
  private readonly broughtIn

  constructor(meter: MetricMeter) {
    const counter = (name: string, description: string) =>
      meter.createCounter(`web_traffic_${name}`, undefined, description)
    const seconds = (name: string, description: string) =>
      meter.createHistogram(`web_traffic_${name}`, 'float', 'seconds', description)

    this.duration = seconds('step_duration', 'How long a step took that succeeded')
    this.failures = counter('step_failures', 'Attempts of a step that failed, by kind')
    this.rows = meter.createHistogram('web_traffic_window_rows', 'int', undefined, 'Groups of a window')
    this.closeDelay = seconds('window_close_delay', 'From when a window was due until its first result')
    this.writes = counter('window_writes', 'Results of windows that were handed to Postgres, by outcome')
    this.folded = counter('folded_hits', 'Hits of closed windows that are counted under (other)')
    this.late = counter('late', 'Events that came after their window, by cause')
    this.repeats = counter('repeats', 'What was sent again, and dropped as a repeat, by what it was')
    this.overlaps = counter('overlaps', 'Deltas that contradict what was applied, and were not counted')
    this.verified = counter('verified_windows', 'Windows that were counted anew and compared, by outcome')
    this.differences = counter('verify_differences', 'Rows in which Postgres differs from the log')
    this.replayed = counter('replayed_windows', 'Windows that were counted anew to be published, by outcome')
    this.broughtIn = counter('brought_in', 'Late events that a replay brought into a result')

    for (const step of Object.keys(STEPS)) for (const kind of KINDS) this.failures.add(0, { step, kind })
    for (const metric of [this.folded, this.overlaps, this.differences, this.broughtIn]) metric.add(0)
    this.late.add(0, { cause: 'closed' })
    const unheard = counter('unheard_signals', 'Signals to windows and pollers that had ended, by signal')
    for (const signal of ['publish', 'close', 'drain']) unheard.add(0, { signal })
    for (const what of ['delta', 'exceptions']) this.repeats.add(0, { of: what })
    for (const outcome of ['written', 'unchanged']) this.writes.add(0, { outcome })
    for (const outcome of ['right', 'wrong', 'gone', 'lost']) this.verified.add(0, { outcome })
    for (const outcome of ['replayed', 'unchanged', 'gone', 'lost']) this.replayed.add(0, { outcome })
  }

  /** The same activities, each of which is measured. */
  measured(activities: Activities): Activities {
    return {
      ...activities,
      openWindow: input => this.step('openWindow', () => activities.openWindow(input)),
      stagePiece: input => this.step('stagePiece', () => activities.stagePiece(input)),
      selectWindows: input => this.step('selectWindows', () => activities.selectWindows(input)),
      writeWindow: async input => {
        const published = await this.step('writeWindow', () => activities.writeWindow(input))
        const { written, groups, otherHits } = published
        this.writes.add(1, { outcome: written ? 'written' : 'unchanged' })
        this.rows.record(groups)
        if (input.status === 'closed') this.folded.add(otherHits)
        const { start, settings, revision } = input
        const due = start + settings.windowSize + settings.watermarkDelay
        if (written && revision === 1) this.closeDelay.record(Math.max(0, Date.now() - due) / 1_000)
        return published
      },
      recordClosed: async input => {
        const outcome = await this.step('recordClosed', () => activities.recordClosed(input))
        this.late.add(outcome.lateHits, { cause: 'closed' })
        this.repeats.add(outcome.repeats, { of: 'delta' })
        this.overlaps.add(outcome.overlaps.length)
        return outcome
      },
      recordExceptions: async input => {
        const recorded = await this.step('recordExceptions', () => activities.recordExceptions(input))
        this.repeats.add(input.ranges.length - recorded, { of: 'exceptions' })
        return recorded
      },
      verifyWindows: input => this.verifying(() => activities.verifyWindows(input)),
      replayWindows: input => this.replaying(() => activities.replayWindows(input)),
      findUnsettled: input => this.step('findUnsettled', () => activities.findUnsettled(input)),
      repairWindow: input => this.step('repairWindow', () => activities.repairWindow(input)),
      findMissing: input => this.step('findMissing', () => activities.findMissing(input)),
      recoverWrites: input => this.step('recoverWrites', () => activities.recoverWrites(input)),
      maintainTables: input => this.step('maintainTables', () => activities.maintainTables(input)),
    }
  }

  private async verifying(run: () => ReturnType<Activities['verifyWindows']>) {
    const batch = await this.step('verifyWindows', run)
    this.verified.add(batch.right, { outcome: 'right' })
    this.verified.add(batch.wrong.length, { outcome: 'wrong' })
    this.verified.add(batch.gone.length, { outcome: 'gone' })
    this.verified.add(batch.lost?.length ?? 0, { outcome: 'lost' })
    for (const { differences, more } of batch.wrong) this.differences.add(differences.length + more)
    return batch
  }

  private async replaying(run: () => ReturnType<Activities['replayWindows']>) {
    const batch = await this.step('replayWindows', run)
    this.replayed.add(batch.replayed.length, { outcome: 'replayed' })
    this.replayed.add(batch.unchanged, { outcome: 'unchanged' })
    this.replayed.add(batch.gone.length, { outcome: 'gone' })
    this.replayed.add(batch.lost?.length ?? 0, { outcome: 'lost' })
    for (const { broughtIn } of batch.replayed) this.broughtIn.add(broughtIn)
    return batch
  }

  private async step<T>(step: Step, run: () => Promise<T>): Promise<T> {
    const since = performance.now()
    try {
      const result = await run()
      this.duration.record((performance.now() - since) / 1_000, { step })
      return result
    } catch (error) {
      this.failures.add(1, { step, kind: kindOf(error) })
      throw error
    }
  }
}

function kindOf(error: unknown): FailureKind {
  if (!(error instanceof ApplicationFailure)) return 'other'
  if (error.type === 'LookupFailure') return 'lookup'
  if (error.type !== 'PostgresFailure') return 'other'
  return error.nonRetryable ? 'postgres_permanent' : 'postgres_transient'
}
