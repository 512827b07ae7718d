import type { Delta, FlushRequest } from '../../src/core/window/protocol'
import type { LogRecord } from '../../src/core/event/log-record'
import type { ReaderRules } from '../../src/core/window/partition-reader'
import { LedgerTime } from '../../src/core/window/ledger-time'
import { PollerState, type IdleClaim } from '../../src/core/window/poller-state'
import type { Ingest } from './ingest'
import type { Kafka } from './kafka'
import type { Sink } from './sink'
import { DELAY, MAX_FUTURE, WINDOW } from './traffic'
import { WallClock } from './wall-clock'
import type { WindowRuns } from './window-runs'
import type { Process, Step, World } from './world'

export const RULES: Omit<ReaderRules, 'allowedLateness'> = {
  windowSize: WINDOW,
  watermarkDelay: DELAY,
  maxGroups: 1_000,
  maxFuture: MAX_FUTURE,
  referrer: 'full',
  locate: ip => ip,
  hashKey: [1, 2, 3, 4],
}

/** The parts that a poller uses. */
export interface Dependencies {
  world: World
  kafka: Kafka
  ingest: Ingest
  windows: WindowRuns
  sink: Sink
}

/** A poller's process, in the order of src/activities/poller.ts. */
export class PollerProcess {
  /** Does not run before this time (epoch ms): a process that is stopped, and wakes up as a zombie. */
  asleepUntil = 0
  private readonly state: PollerState
  private readonly process: Process
  /** Number of its last claim. */
  private claim = 0
  private assigned: number[] = []
  private readonly quietSince = new Map<number, number>()
  /** Whether retention has removed records that it was about to read. */
  private hasGap = false
  private readonly ledgerTime = new LedgerTime()
  private readonly wallClock: WallClock
  /** Measures durations. */
  private readonly started: number
  /** Pollers of an older release claim to be idle by their own clock. */
  readonly isOld: boolean

  constructor(
    private readonly parts: Dependencies,
    readonly name: number,
  ) {
    this.state = new PollerState(name, { ...RULES, allowedLateness: this.parts.world.allowedLateness })
    const { world } = this.parts
    this.wallClock = new WallClock(world)
    this.started = world.clock
    this.isOld = world.random.chance(world.oldPollers)
    this.process = this.run()
  }

  /** Runs to its next step. During its calls, Kafka delivers records. */
  advance(): Step | 'wait' {
    const { value: step, done } = this.process.next()
    if (done) throw new Error('a poller ended')
    if (step === 'claim' || step === 'wait') return step
    for (const partition of this.assigned) if (this.parts.world.random.chance(0.6)) this.fetch(partition)
    return step
  }

  private *run(): Process {
    const { world, kafka } = this.parts
    for (;;) {
      while (this.state.pending) yield* this.flush()
      const { generation } = kafka
      yield* this.takeOver(kafka.assigned(this.name))
      while (kafka.generation === generation && !this.hasGap) {
        yield 'read'
        const idle = yield* this.idleClaims()
        if (!world.random.chance(0.4) && idle.length === 0) continue
        const refused = yield* this.flush(idle)
        if (refused > 0) break
      }
      yield 'wait'
    }
  }

  private *takeOver(partitions: number[]): Process {
    const { world, kafka, ingest } = this.parts
    const earliest = new Map(kafka.low.entries())
    this.hasGap = false
    const taken = yield* world.call('claim', () => ingest.claim(this.name, partitions))
    this.ledgerTime.answered(taken.now, this.elapsed)
    this.state.assign(taken.partitions, earliest)
    this.claim = taken.claim
    this.assigned = partitions
    for (const partition of partitions) this.quietSince.set(partition, world.clock)
  }

  private fetch(partition: number): void {
    const { world, kafka } = this.parts
    const reader = this.state.reader(partition)
    if (!reader) return
    if (reader.position < kafka.low[partition]!) {
      this.hasGap = true
      world.met('records were lost before they were read')
      return
    }
    const records = kafka.fetch(partition, reader.position, 1 + world.random.below(12))
    if (records.length === 0) return
    this.quietSince.set(partition, world.clock)
    reader.read(
      records.map(record => this.seen(record)),
      kafka.fetchEnd(partition, records),
      world.mutant === 'removed records are passed over' ? [] : kafka.removed[partition],
    )
  }

  private get elapsed(): number {
    return this.parts.world.clock - this.started
  }

  private seen(record: LogRecord): LogRecord {
    const { mutant, clock } = this.parts.world
    return mutant === "the future judged by the reader's clock" ? { ...record, timestamp: clock } : record
  }

  /** Claims the time at which it asked for the partitions' ends, not that of the answer. */
  private *idleClaims(): Process<IdleClaim[]> {
    const { world, ingest } = this.parts
    const byItself = this.isOld || world.mutant === "an idle claim by the poller's clock"
    const at = byItself ? this.wallClock.now : this.ledgerTime.at(this.elapsed)
    // A later record could still be in time for a window that such a claim closes.
    if (!this.isOld && at > world.clock) throw new Error(`an idle claim for ${at}, at ${world.clock}`)
    const idle = this.state.partitions.filter(({ partition, position }) => this.isIdle(partition, position))
    if (idle.length === 0) return []
    const asked = idle.map(({ partition }) => partition)
    const awaited = yield* world.call('awaited', () => ingest.awaited(asked, at))
    return idle
      .filter(({ partition }) => awaited.includes(partition))
      .map(({ partition, position }) => ({ partition, position, at }))
  }

  private isIdle(partition: number, position: number): boolean {
    const { world, kafka } = this.parts
    const silent = world.clock - (this.quietSince.get(partition) ?? world.clock) >= world.idleTimeout
    return silent && position === kafka.end(partition) && this.state.isSettled(partition)
  }

  /** Returns how many partitions the ledger refused. */
  private *flush(idle: IdleClaim[] = []): Process<number> {
    const { world, kafka, ingest } = this.parts
    const { claim } = this
    const request = this.state.plan(kafka.partitions, idle)
    if (!request) return 0
    this.note(request)
    const answer = yield* world.call('flush', () => ingest.flush(claim, request, this.isOld))
    this.ledgerTime.answered(answer.now, this.elapsed)
    const outgoing = this.state.accepted(answer)
    if (world.mutant === 'done reported before the signals') yield* this.reportDone(claim)
    for (const [start, sized] of outgoing) {
      const deltas: Delta[] = []
      for (const { delta } of sized) deltas.push(yield* this.fitted(start, delta))
      yield* world.call('signal', () => this.signal(claim, start, deltas))
    }
    this.state.signalled()
    return answer.refused.length
  }

  private note({ partitions }: FlushRequest): void {
    for (const { announce } of partitions) {
      if (!announce?.sums || announce.windows.length > 0 || announce.sums.totals.records === 0) continue
      this.parts.world.met('an announced range had changed when it was read again')
      this.parts.world.mayLack = true
    }
  }

  /** The delta without what is too large for a message, which goes to Postgres. */
  private *fitted(start: number, delta: Delta): Process<Delta> {
    const { world, sink } = this.parts
    let fitted = delta
    const { partition, from, last, exceptions } = delta
    if (exceptions && world.random.chance(0.3)) {
      yield* world.call('exceptions', () =>
        sink.recordExceptions({ partition, from, to: last + 1, window: start, ...exceptions }),
      )
      fitted = {
        ...fitted,
        exceptions: { ...exceptions, recorded: true, late: [], rejected: {}, samples: [] },
      }
    }
    if (!world.random.chance(0.3)) return fitted
    world.met('a delta was staged')
    const large = fitted
    return yield* world.call('stageDelta', () => sink.stageDelta(start, large))
  }

  /** Too early: after a crash, nobody would read the ranges again whose deltas are still on their way. */
  private *reportDone(claim: number): Process {
    const { world, kafka, ingest } = this.parts
    this.state.signalled()
    const partitions = this.state.doneRanges.map(({ partition, epoch, to, toBasis, totals }) => ({
      partition,
      epoch,
      done: { to, basis: toBasis, totals },
    }))
    const request = { poller: this.name, partitionCount: kafka.partitions, partitions }
    yield* world.call('flush', () => ingest.flush(claim, request, this.isOld))
  }

  private signal(claim: number, start: number, deltas: Delta[]): void {
    const { world, ingest, windows, sink } = this.parts
    const zombie = deltas.some(({ partition }) => !ingest.ownership.holds(claim, partition))
    if (zombie && sink.find(start)) world.met('a zombie signalled a closed window')
    windows.deliver(start, deltas)
  }
}
