import { log, metricMeter, workflowInfo } from '@temporalio/workflow'
import type { Delta } from '../core/window/protocol'
import { deltaBytes, MAX_PIECE_BYTES } from '../core/window/window-state'
import type { OldPieces } from './old-release'
import type { WindowExceptions } from './window-exceptions'
import type { WindowRun } from './window-run'

/** The server accepts 10,000 signals per run, and does not suggest continuing as new because of them. */
const MAX_SIGNALS = 2_000

/** Takes in deltas: merges those that fit and keeps the rest pending. */
export class WindowInbox {
  private readonly pending: Delta[] = []
  private signals = 0

  /** @param merges false while the window is closing: it keeps new deltas apart, to record them as late */
  constructor(
    private readonly run: WindowRun,
    private readonly exceptions: WindowExceptions,
    private readonly oldPieces: OldPieces,
    private readonly merges: () => boolean,
  ) {}

  get isEmpty(): boolean {
    return this.pending.length === 0
  }

  /** Whether the run should continue as new and can: pollers bound what they send, so pending deltas always drain. */
  get mayContinueAsNew(): boolean {
    return this.isEmpty && (this.signals >= MAX_SIGNALS || workflowInfo().continueAsNewSuggested)
  }

  /** Whether the next delta waits until exceptions are recorded. */
  get waitsForExceptions(): boolean {
    const [next] = this.pending
    return next !== undefined && !this.run.counts.hasRoomForExceptionsOf(next)
  }

  receive(deltas: Delta[]): void {
    this.signals++
    this.pending.push(...deltas)
    if (this.merges()) this.merge()
  }

  /** Merges pending deltas as far as they fit. */
  merge(): void {
    const { counts } = this.run
    for (let delta = this.pending[0]; delta; delta = this.pending[0]) {
      if (!counts.hasRoomForExceptionsOf(delta)) break
      if (!counts.hasRoomFor(delta) && !this.oldPieces.send()) break
      this.pending.shift()
      this.apply(delta)
    }
    if (counts.toRecord.length > 0) this.exceptions.gather()
  }

  private apply(delta: Delta): void {
    const verdict = this.run.counts.apply(delta)
    if (verdict === 'applied') this.run.changed ||= delta.hits > 0
    if (verdict === 'repeat') metricMeter.createCounter('web_traffic_repeats').add(1, { of: 'delta' })
    if (verdict !== 'overlap') return
    metricMeter.createCounter('web_traffic_overlaps').add(1)
    const { partition, first, last } = delta
    const message = 'A delta overlaps counts that were already merged; it is not counted. Repair this window.'
    log.error(message, { partition, first, last })
  }

  putBack(deltas: Delta[]): void {
    this.pending.unshift(...deltas)
  }

  /** Takes the deltas that fit in one message; at least one if any is pending. */
  takeBatch(): Delta[] {
    let bytes = 0
    const beyond = this.pending.findIndex(delta => (bytes += deltaBytes(delta)) > MAX_PIECE_BYTES)
    return this.pending.splice(0, beyond < 0 ? this.pending.length : Math.max(1, beyond))
  }
}
