import { setTimeout as sleep } from 'node:timers/promises'
import type { PipelineSettings } from '../core/settings'

/** Delay before a partition that the ledger refused, or that was fetched with a gap, is claimed again, ms. */
const RECLAIM_DELAY = 5_000
/**
 * A workflow handles about five signals a second. All pollers signal the same windows, so each one waits this long
 * between two flushes for every poller there is, ms.
 */
const FLUSH_SPACING = 200

/** Decides when a poller's loop claims, flushes and ticks. By `performance.now()`: a clock that is set back must not stop it. */
export class PollerSchedule {
  private reclaimAt = Infinity
  private lastFlush = -Infinity
  private flushNow = false
  private flushInterval: number
  private lastTick = -Infinity
  private readonly tickInterval: number
  /** Interrupts {@link untilDue}. */
  wake: () => void = () => undefined

  constructor(private readonly settings: Pick<PipelineSettings, 'flushInterval' | 'idleTimeout'>) {
    this.flushInterval = settings.flushInterval
    this.tickInterval = Math.min(1_000, settings.idleTimeout / 4)
  }

  get reclaimDue(): boolean {
    return performance.now() >= this.reclaimAt
  }

  get flushDue(): boolean {
    return this.flushNow || performance.now() - this.lastFlush >= this.flushInterval
  }

  get tickDue(): boolean {
    return performance.now() - this.lastTick >= this.tickInterval
  }

  reclaimSoon(): void {
    this.reclaimAt = Math.min(this.reclaimAt, performance.now() + RECLAIM_DELAY)
  }

  flushSoon(): void {
    this.flushNow = true
    this.wake()
  }

  claimed(): void {
    this.reclaimAt = Infinity
    this.lastFlush = performance.now()
  }

  flushing(): void {
    this.flushNow = false
    this.lastFlush = performance.now()
  }

  flushed(pollers: number): void {
    this.flushInterval = Math.max(this.settings.flushInterval, pollers * FLUSH_SPACING)
  }

  tick(now: number): number {
    const seconds = (now - this.lastTick) / 1_000
    this.lastTick = now
    return seconds
  }

  /** Waits for the next tick, or the next flush if something is pending. */
  async untilDue(pending: boolean): Promise<void> {
    const flushAt = pending ? this.lastFlush + this.flushInterval : Infinity
    const delay = Math.min(flushAt, this.lastTick + this.tickInterval) - performance.now()
    const timer = new AbortController()
    const woken = new Promise<void>(resolve => {
      this.wake = resolve
    })
    await Promise.race([woken, sleep(Math.max(1, delay), undefined, timer).catch(() => undefined)])
    timer.abort()
  }
}
