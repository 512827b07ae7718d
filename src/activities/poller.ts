import { setTimeout as sleep } from 'node:timers/promises'
import type { FlushRequest } from '../core/window/protocol'
import type { PipelineSettings } from '../core/settings'
import { bytesOf, PollerState, type IdleClaim, type Outgoing } from '../core/window/poller-state'
import type { OffsetRange } from '../core/window/offset-range'
import type { ReaderRules } from '../core/window/partition-reader'
import { sumOf } from '../core/window/totals'
import { passesWindowEnd, watermark } from '../core/window/watermark'
import type { Fetch, Position } from '../kafka/group-reader'
import type { PartitionOffsets } from '../kafka/client'
import type { BatchLookup } from '../geo/lookup'
import type { Logger } from '../log'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import { traced } from '../telemetry/tracing'
import { Intake, type IntakeEvents } from './intake'
import { LogCheck } from './log-check'
import { PartitionLag } from './partition-lag'
import type { PipelinePort } from './pipeline-port'
import type { Attributes, Note } from '../telemetry/tracing-port'

/** What the poller needs of Kafka; see {@link GroupReader}. */
export interface LogPort {
  begin(positions: Position[]): void
  pause(partitions: number[]): void
  offsets(): Promise<PartitionOffsets[]>
  commit(positions: Position[]): Promise<void>
}

export interface PollerProgress {
  partitions: { partition: number; position: number; lag: number; watermark: string | null }[]
  records: number
  perSecond: number
}

/** How long a partition is left alone that the ledger refused, or that was fetched with a gap, before it is claimed again. */
const RECLAIM_AFTER = 5_000

/**
 * A workflow takes about five signals a second for long. All pollers of a topic signal the same window, so that each of
 * them flushes no sooner than this many milliseconds for every poller there is.
 */
const FLUSH_SPACING = 200

/**
 * Drives one {@link PollerState}: feeds it from Kafka, and holds every conversation with the ledger, one after the
 * other, in a single loop. While a flush is under way the next range is being read.
 */
export class Poller {
  private readonly state: PollerState
  private readonly ends = new PartitionLag()
  private readonly intake: Intake
  private readonly check: LogCheck
  private assigned: number[] = []
  private assignments = 0
  private claimedAssignment = 0
  private partitionCount = 0
  private brokerAway = false
  private reclaimAt = Infinity
  private lastFlush = 0
  private flushInterval: number
  private flushNow = false
  private lastTick = 0
  /** Records that had been taken at the last tick. */
  private reported = 0
  private draining = false
  private failure: Error | undefined
  private wake: () => void = () => undefined

  constructor(
    private readonly settings: PipelineSettings,
    poller: number,
    rules: ReaderRules,
    private readonly log: LogPort,
    private readonly pipeline: PipelinePort,
    private readonly logger: Logger,
    private readonly onProgress: (progress: PollerProgress) => void,
    private readonly metrics: PollerMetrics,
    service?: BatchLookup,
  ) {
    this.state = new PollerState(poller, rules)
    this.flushInterval = settings.flushInterval
    this.check = new LogCheck(settings.topic, position => this.log.begin([position]))
    const events: IntakeEvents = {
      flushSoon: () => this.flushSoon(),
      leftGap: () => {
        metrics.leftGap()
        this.reclaimSoon()
      },
      failed: error => this.onError(error),
    }
    this.intake = new Intake(settings, this.state, this.ends, metrics, events, service)
  }

  onAssigned(partitions: number[]): void {
    this.assigned = partitions
    this.assignments++
    this.logger.info({ partitions }, 'Kafka assigned partitions')
    this.wake()
  }

  onError(error: Error): void {
    this.failure ??= error
    this.intake.end()
    this.wake()
  }

  /** Flushes what is held and ends {@link run}. */
  drain(): void {
    this.draining = true
    this.intake.end()
    this.wake()
  }

  onRecords(fetch: Fetch, heartbeat: () => Promise<void>): Promise<void> {
    try {
      if (this.check.admits(this.state.reader(fetch.partition), fetch))
        return this.intake.consume(fetch, heartbeat)
      this.metrics.passedOver(fetch.length, 'not_held')
    } catch (error) {
      this.onError(error as Error)
    }
    return Promise.resolve()
  }

  private reclaimSoon(): void {
    this.reclaimAt = Math.min(this.reclaimAt, Date.now() + RECLAIM_AFTER)
  }

  private flushSoon(): void {
    this.flushNow = true
    this.wake()
  }

  /** Runs until drained; rejects when the poller cannot go on. */
  async run(): Promise<number> {
    while (!this.draining) {
      if (this.failure) throw this.failure
      if (this.assignments !== this.claimedAssignment || Date.now() >= this.reclaimAt) await this.claim()
      else if (this.tickDue) {
        await this.tick()
        // Neither keeps the other from its turn, however long it takes.
        if (this.flushDue()) await this.flush()
      } else if (this.flushDue()) await this.flush()
      else await this.untilWoken()
    }
    this.log.pause(this.assigned)
    while (this.state.pending) await this.flush()
    await this.commit(this.positions)
    return this.intake.taken
  }

  private get tickDue(): boolean {
    return Date.now() - this.lastTick >= this.tickInterval
  }

  private get tickInterval(): number {
    return Math.min(1_000, this.settings.idleTimeout / 4)
  }

  private flushDue(): boolean {
    if (!this.state.pending) return false
    return this.flushNow || Date.now() - this.lastFlush >= this.flushInterval
  }

  private async untilWoken(): Promise<void> {
    const flushIn = this.state.pending ? this.lastFlush + this.flushInterval - Date.now() : Infinity
    const tickIn = this.lastTick + this.tickInterval - Date.now()
    const timer = new AbortController()
    const woken = new Promise<void>(resolve => {
      this.wake = resolve
    })
    await Promise.race([
      woken,
      sleep(Math.max(1, Math.min(flushIn, tickIn)), undefined, timer).catch(() => undefined),
    ])
    timer.abort()
  }

  /**
   * Claims what Kafka assigned. What is held is flushed first: whoever has been given those partitions meanwhile
   * has raised their epoch, so that this is refused; otherwise it need not be read again.
   */
  private async claim(): Promise<void> {
    // Else what goes on arriving would have to be flushed for ever.
    this.log.pause(this.assigned)
    while (this.state.pending) await this.flush()
    const assignment = this.assignments
    const partitions = this.assigned
    const offsets = await this.log.offsets()
    this.partitionCount = offsets.length
    const earliest = new Map(offsets.map(({ partition, low }) => [partition, low]))
    const { partitions: claims } = await this.pipeline.claim({
      poller: this.state.poller,
      partitionCount: this.partitionCount,
      partitions: partitions.map(partition => ({ partition, earliest: earliest.get(partition) ?? 0 })),
    })
    this.check.claimed(claims, offsets)
    for (const { partition, position } of claims) {
      const { low = 0, high = 0 } = offsets[partition] ?? {}
      if (position < low)
        this.logger.warn(
          { partition, from: position, to: low },
          'retention removed records before they were read',
        )
      this.ends.claimed(partition, high)
    }
    this.state.assign(claims, earliest)
    this.intake.onCut()
    this.metrics.claimed(claims.length)
    this.claimedAssignment = assignment
    this.reclaimAt = Infinity
    this.lastFlush = Date.now()
    if (assignment !== this.assignments) return
    this.log.begin(this.check.beginnings(this.positions))
    this.logger.info({ claims }, 'claimed partitions')
  }

  private async flush(idle: IdleClaim[] = []): Promise<void> {
    this.flushNow = false
    this.lastFlush = Date.now()
    const request = this.state.plan(this.partitionCount, idle)
    this.intake.onCut()
    if (!request) return
    for (const part of request.partitions) part.end = this.ends.end(part.partition)
    await traced('flush', note => this.carryOut(request, note))
  }

  private async carryOut(request: FlushRequest, note: Note | undefined): Promise<void> {
    note?.({ 'web_traffic.pipeline': this.settings.group, 'web_traffic.poller': this.state.poller })
    // 1. Announced: from here on the ledger knows the ranges and their windows, and none of them can close.
    const answer = await this.pipeline.flush(request)
    const announced = Date.now()
    this.flushInterval = Math.max(this.settings.flushInterval, answer.pollers * FLUSH_SPACING)
    const outgoing = this.state.accepted(answer)
    this.dropRefused(answer.refused)
    // 2. Sent: only ranges that were accepted, so that whoever reads them again cuts them exactly alike.
    await this.pipeline.send(outgoing)
    // 3. Done, said with the next flush: only now, since the ledger closes windows on that word.
    this.state.signalled()
    const took = { announce: announced - this.lastFlush, send: Date.now() - announced }
    const { announce: announcing, send: sending } = took
    this.logger.debug({ announcing, sending, windows: outgoing.size }, 'flushed')
    const done = this.state.doneRanges
    this.metrics.flushed(outgoing, done, took)
    note?.(figuresOf(outgoing, done))
    const letsClose = done.some(range => passesWindowEnd(range.fromBasis, range.toBasis, this.settings))
    if (letsClose && this.ends.caughtUp(this.state.partitions)) this.flushNow = true
    void this.commit(done.map(({ partition, to }) => ({ partition, position: to })))
  }

  private dropRefused(refused: number[]): void {
    if (refused.length === 0) return
    this.metrics.refused(refused.length)
    this.logger.warn({ refused }, 'the ledger refused partitions that were claimed elsewhere')
    this.log.pause(refused)
    this.reclaimSoon()
  }

  private get positions(): Position[] {
    return this.state.partitions.map(({ partition, position }) => ({ partition, position }))
  }

  private async commit(positions: Position[]): Promise<void> {
    if (positions.length === 0) return
    await this.log.commit(positions).catch((error: unknown) => {
      this.metrics.commitFailed()
      this.logger.debug({ error }, 'offsets not committed')
    })
  }

  /** Every second or so: looks up the end of the log, reports progress, and claims idle partitions that are awaited. */
  private async tick(): Promise<void> {
    const now = Date.now()
    const seconds = (now - this.lastTick) / 1_000
    this.lastTick = now
    this.reportProgress(seconds)
    const { positions } = this
    let offsets: PartitionOffsets[]
    try {
      offsets = await this.log.offsets()
    } catch (error) {
      this.metrics.kafkaGaveNoAnswer()
      if (!this.brokerAway) this.logger.warn({ error }, 'Kafka does not answer')
      this.brokerAway = true
      return
    }
    if (this.brokerAway) this.ends.brokerIsBack()
    this.brokerAway = false
    this.partitionCount = offsets.length
    this.ends.lookedUp(offsets)
    if (this.check.lookedUp(positions, offsets)) this.reclaimSoon()
    const idle = offsets.filter(({ partition, high }) => this.isIdle(partition, high, now))
    if (idle.length === 0) return
    // The time at which the ends were asked for, not that of reporting: a record may have come since.
    const awaited = await this.pipeline.awaited(
      idle.map(({ partition }) => partition),
      now,
    )
    const claims = awaited.map(partition => ({
      partition,
      position: this.state.reader(partition)?.position ?? -1,
      at: now,
    }))
    if (claims.length > 0) await this.flush(claims)
  }

  private isIdle(partition: number, high: number, now: number): boolean {
    const reader = this.state.reader(partition)
    const quietSince = this.ends.quietSince(partition) ?? now
    if (!this.state.isSettled(partition) || !this.check.isVerified(partition)) return false
    if (this.check.isGrowing(partition)) return true
    return reader?.position === high && now - quietSince >= this.settings.idleTimeout
  }

  private reportProgress(seconds: number): void {
    const partitions = this.state.partitions.map(({ partition, position, basis }) => ({
      partition,
      position,
      lag: this.ends.lag({ partition, position }),
      watermark:
        basis === null ? null : new Date(watermark(basis, this.settings.watermarkDelay)).toISOString(),
    }))
    const { taken: records } = this.intake
    const perSecond = Math.round((records - this.reported) / seconds)
    this.reported = records
    this.onProgress({ partitions, records, perSecond })
  }
}

/** What a flush's span says of the ranges that it sent. */
function figuresOf(outgoing: Outgoing, ranges: OffsetRange[]): Attributes {
  const partitions = ranges.map(({ partition }) => partition)
  const windows = outgoing.size
  const figures = { partitions, windows, ...sumOf(ranges), bytes: bytesOf(outgoing) }
  return Object.fromEntries(Object.entries(figures).map(([name, figure]) => [`web_traffic.${name}`, figure]))
}
