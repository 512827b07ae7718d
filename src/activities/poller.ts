import type { PipelineSettings } from '../core/settings'
import type { ReaderRules } from '../core/window/partition-reader'
import { PollerState, type IdleClaim } from '../core/window/poller-state'
import type { FlushRequest } from '../core/window/protocol'
import { sumOf } from '../core/window/totals'
import { passesWindowEnd, watermark } from '../core/window/watermark'
import type { BatchLookup } from '../geo/lookup'
import type { PartitionOffsets } from '../kafka/client'
import type { Fetch, Position } from '../kafka/group-reader'
import type { Logger } from '../log'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import { traced } from '../telemetry/tracing'
import type { Note } from '../telemetry/opentelemetry'
import { flushAttributes } from './flush-attributes'
import { idleClaims } from './idle-claims'
import { Intake } from './intake'
import { LedgerClock } from './ledger-clock'
import { LogCheck } from './log-check'
import { PartitionLag } from './partition-lag'
import type { PipelinePort } from './pipeline-port'
import { PollerSchedule } from './poller-schedule'
import type { UnreadableBatches } from './unreadable-batches'

/** The part of {@link GroupReader} that a poller uses. */
export interface LogPort {
  begin(positions: Position[]): void
  pause(partitions: number[]): void
  offsets(): Promise<PartitionOffsets[]>
  commit(positions: Position[]): Promise<void>
}

export interface PollerProgress {
  partitions: { partition: number; position: number; lag: number; watermark: string | null }[]
  /** How long ago Kafka assigned the partitions, ms. */
  assignedFor: number
  records: number
  perSecond: number
}

export interface PollerDependencies {
  settings: PipelineSettings
  number: number
  rules: ReaderRules
  log: LogPort
  pipeline: PipelinePort
  logger: Logger
  onProgress: (progress: PollerProgress) => void
  metrics: PollerMetrics
  unreadable: UnreadableBatches
  service?: BatchLookup | undefined
}

/**
 * Drives one {@link PollerState}: Kafka pushes records into it through {@link onRecords}, and the loop in {@link run} makes
 * all calls to the ledger and the windows, one at a time. While a flush is under way, the next range is being read.
 */
export class Poller {
  private readonly state: PollerState
  private readonly schedule: PollerSchedule
  private readonly ledgerClock = new LedgerClock()
  private readonly lag = new PartitionLag()
  private readonly intake: Intake
  private readonly check: LogCheck
  private assigned: number[] = []
  private assignedAt = performance.now()
  private assignments = 0
  private claimedAssignment = 0
  private partitionCount = 0
  private brokerDown = false
  private reported = 0
  private counted = 0
  private draining = false
  private failure: Error | undefined

  constructor(private readonly dependencies: PollerDependencies) {
    const { settings, number, rules, log, metrics, service } = dependencies
    this.state = new PollerState(number, rules)
    this.schedule = new PollerSchedule(settings)
    this.check = new LogCheck(settings.topic, position => log.begin([position]))
    this.intake = new Intake({
      settings,
      state: this.state,
      lag: this.lag,
      metrics,
      service,
      flushSoon: () => this.schedule.flushSoon(),
      onGap: () => {
        metrics.count('fetch_gaps')
        this.schedule.reclaimSoon()
      },
      onError: error => this.onError(error),
    })
  }

  /**
   * Claims, flushes and ticks until it is drained. Returns the number of records in the ranges that it has done: records
   * that it dropped unannounced at a claim are read again, and do not count.
   *
   * @throws the first error that reading or a call could not recover from
   */
  async run(): Promise<number> {
    while (!this.draining) {
      if (this.failure) throw this.failure
      if (this.assignments !== this.claimedAssignment || this.schedule.reclaimDue) await this.claim()
      else if (this.schedule.tickDue) {
        await this.tick()
        // Slow ticks must not keep a flush from its turn, nor slow flushes a tick.
        if (this.flushDue) await this.flush()
      } else if (this.flushDue) await this.flush()
      else await this.schedule.untilDue(this.state.pending)
    }
    await this.flushAll()
    await this.commit(this.positions)
    return this.counted
  }

  private get flushDue(): boolean {
    return this.state.pending && this.schedule.flushDue
  }

  onAssigned(partitions: number[]): void {
    this.assigned = partitions
    this.assignedAt = performance.now()
    this.assignments++
    this.dependencies.logger.info({ partitions }, 'Kafka assigned partitions')
    this.schedule.wake()
  }

  onRecords(fetch: Fetch, heartbeat: () => Promise<void>): Promise<void> {
    try {
      this.dependencies.unreadable.fetched(fetch)
      if (this.check.admits(this.state.reader(fetch.partition), fetch))
        return this.intake.consume(fetch, heartbeat)
      this.dependencies.metrics.passedOver(fetch.length, 'not_held')
    } catch (error) {
      this.onError(error as Error)
    }
    return Promise.resolve()
  }

  onError(error: Error): void {
    this.failure ??= error
    this.intake.end()
    this.schedule.wake()
  }

  /** Makes {@link run} flush what is pending and end. */
  drain(): void {
    this.draining = true
    this.intake.end()
    this.schedule.wake()
  }

  private async claim(): Promise<void> {
    const { log, pipeline, metrics, unreadable, logger } = this.dependencies
    // If another poller has claimed these partitions meanwhile, the ledger refuses the flush; otherwise the pending
    // records need not be read again.
    await this.flushAll()
    const assignment = this.assignments
    const partitions = this.assigned
    const offsets = await log.offsets()
    this.partitionCount = offsets.length
    const earliest = new Map(offsets.map(({ partition, low }) => [partition, low]))
    const answer = await pipeline.claim({
      poller: this.state.poller,
      partitionCount: this.partitionCount,
      partitions: partitions.map(partition => ({ partition, earliest: earliest.get(partition) ?? 0 })),
    })
    const { partitions: claims } = this.ledgerClock.read(answer)
    this.check.claimed(claims, offsets)
    unreadable.claimed()
    for (const { partition, position } of claims) {
      const { low = 0, high = 0 } = offsets[partition] ?? {}
      if (position < low)
        logger.warn({ partition, from: position, to: low }, 'retention removed records before they were read')
      this.lag.claimed(partition, high)
    }
    this.state.assign(claims, earliest)
    this.intake.onCut()
    metrics.count('claimed_partitions', claims.length)
    this.claimedAssignment = assignment
    this.schedule.claimed()
    if (assignment !== this.assignments) return
    log.begin(this.check.startPositions(this.positions))
    logger.info({ claims }, 'claimed partitions')
  }

  /** Paused, because records would keep arriving otherwise. */
  private async flushAll(): Promise<void> {
    this.dependencies.log.pause(this.assigned)
    while (this.state.pending) await this.flush()
  }

  private async flush(idle: IdleClaim[] = []): Promise<void> {
    this.schedule.flushing()
    const request = this.state.plan(this.partitionCount, idle)
    this.intake.onCut()
    if (!request) return
    for (const part of request.partitions) part.end = this.lag.end(part.partition)
    await traced('flush', note => this.sendFlush(request, note))
  }

  private async sendFlush(request: FlushRequest, note: Note | undefined): Promise<void> {
    const { settings, pipeline, metrics, logger } = this.dependencies
    const started = performance.now()
    note?.({ 'web_traffic.pipeline': settings.group, 'web_traffic.poller': this.state.poller })
    // 1. Announced: from here on the ledger knows the ranges and their windows, and none of these can close.
    const answer = this.ledgerClock.read(await pipeline.flush(request))
    const announced = performance.now()
    this.schedule.flushed(answer.pollers)
    const outgoing = this.state.accepted(answer)
    this.dropRefused(answer.refused)
    // 2. Sent: only accepted ranges, so that another poller that reads them again cuts them in the same way.
    await pipeline.send(outgoing)
    // 3. Done: the next flush reports it, because the ledger closes windows on that report.
    this.state.signalled()
    const took = { announce: announced - started, send: performance.now() - announced }
    const done = this.state.doneRanges
    this.counted += sumOf(done).records
    logger.debug({ took, windows: outgoing.size }, 'flushed')
    const changed = done.filter(({ isWithoutCounts }) => isWithoutCounts).map(({ partition }) => partition)
    if (changed.length > 0)
      logger.warn({ changed }, 'Kafka removed records of announced ranges: not sent again')
    metrics.flushed(outgoing, done, took)
    note?.(flushAttributes(outgoing, done))
    const letsClose = done.some(range => passesWindowEnd(range.fromBasis, range.toBasis, settings))
    if (letsClose && this.lag.caughtUp(this.state.partitions)) this.schedule.flushSoon()
    void this.commit(done.map(({ partition, to }) => ({ partition, position: to })))
  }

  private dropRefused(refused: number[]): void {
    const { log, metrics, logger } = this.dependencies
    if (refused.length === 0) return
    metrics.count('refused_partitions', refused.length)
    logger.warn({ refused }, 'the ledger refused partitions that another poller has claimed')
    log.pause(refused)
    this.schedule.reclaimSoon()
  }

  private get positions(): Position[] {
    return this.state.partitions.map(({ partition, position }) => ({ partition, position }))
  }

  private async commit(positions: Position[]): Promise<void> {
    const { log, metrics, logger } = this.dependencies
    if (positions.length === 0) return
    await log.commit(positions).catch((error: unknown) => {
      metrics.count('offset_commit_failures')
      logger.debug({ error }, 'committing offsets failed')
    })
  }

  /** Reports progress, looks up the ends of the log, and claims partitions idle that windows wait for. */
  private async tick(): Promise<void> {
    this.reportProgress(this.schedule.tick(performance.now()))
    const asked = this.ledgerClock.now
    const { positions } = this
    const retried = this.check.startPositions(this.dependencies.unreadable.due(positions))
    if (retried.length > 0) this.dependencies.log.begin(retried)
    const offsets = await this.lookUpEnds()
    if (!offsets) return
    this.partitionCount = offsets.length
    this.lag.lookedUp(offsets)
    if (this.check.lookedUp(positions, offsets)) this.schedule.reclaimSoon()
    const { state, check, lag } = this
    const { pipeline, settings } = this.dependencies
    const idle = await idleClaims({ state, check, lag, pipeline, ...settings }, offsets, asked)
    if (idle.length > 0) await this.flush(idle)
  }

  private async lookUpEnds(): Promise<PartitionOffsets[] | undefined> {
    const { log, metrics, logger } = this.dependencies
    try {
      const offsets = await log.offsets()
      if (this.brokerDown) this.lag.brokerIsBack()
      this.brokerDown = false
      return offsets
    } catch (error) {
      metrics.count('kafka_unanswered')
      if (!this.brokerDown) logger.warn({ error }, 'Kafka does not answer')
      this.brokerDown = true
      return undefined
    }
  }

  private reportProgress(seconds: number): void {
    const { settings, onProgress } = this.dependencies
    const partitions = this.state.partitions.map(({ partition, position, basis }) => ({
      partition,
      position,
      lag: this.lag.lag({ partition, position }),
      watermark: basis === null ? null : new Date(watermark(basis, settings.watermarkDelay)).toISOString(),
    }))
    const { taken: records } = this.intake
    const perSecond = Math.round((records - this.reported) / seconds)
    this.reported = records
    const assignedFor = Math.round(performance.now() - this.assignedAt)
    onProgress({ partitions, assignedFor, records, perSecond })
  }
}
