import { expectEqual, sumOf, totalOf } from './counts'
import { Ingest } from './ingest'
import { Kafka } from './kafka'
import type { Mutant } from './mutants'
import { Operator } from './operator'
import { PollerProcess } from './poller-process'
import { Sink } from './sink'
import { countLog, inventTraffic, type Arrival } from './traffic'
import { WindowRuns } from './window-runs'
import { World, type Coverage, type Fault } from './world'

const MAX_STEPS = 20_000

/** Longest duration of a step, ms; longer after the faults, to shorten the waiting. */
const STEP_TIME = { live: 1_600, finishing: 6_000 }

const FAULTS: Fault[] = ['crash', 'zombie', 'rebalance']

/**
 * One seeded run of Kafka's log and group, the ledger, pollers, windows and the sink. Their steps are interleaved at
 * random, with faults at any step. The state classes are the product's; only the shells around them are models.
 */
export class Simulation {
  private readonly world: World
  private readonly kafka: Kafka
  private readonly sink: Sink
  private readonly windows: WindowRuns
  private readonly ingest: Ingest
  private readonly operator: Operator
  private readonly arrivals: Arrival[]
  private arrived = 0
  private pollers: PollerProcess[] = []
  private names = 0

  constructor(seed: number, coverage: Coverage, mutant?: Mutant) {
    this.world = new World(seed, coverage, mutant)
    const { random } = this.world
    const partitions = 1 + random.below(3)
    this.arrivals = inventTraffic(random, partitions, 120 + random.below(60))
    this.world.clock = this.arrivals[0]!.at
    this.kafka = new Kafka(this.world, partitions)
    this.sink = new Sink(this.world, start => this.ingest.announcedFor(start))
    this.windows = new WindowRuns(this.world, this.sink, settlement => this.ingest.settled(settlement))
    this.ingest = new Ingest(this.world, this.kafka)
    this.operator = new Operator(this.world, this.kafka, this.ingest, this.sink, this.windows)
  }

  /** Runs to the end; throws if anything differs from the reference. */
  run(): void {
    const pollers = 1 + this.world.random.below(3)
    for (let i = 0; i < pollers; i++) this.startPoller()
    for (let step = 0; step < MAX_STEPS; step++) {
      if (this.settled()) return this.check()
      this.advance()
    }
    throw new Error(`stuck: ${JSON.stringify(this.ingest.state)}`)
  }

  private advance(): void {
    const { world } = this
    const { random } = world
    world.clock += random.below(world.faults ? STEP_TIME.live : STEP_TIME.finishing)
    this.receive()
    if (world.echo()) return
    const { publish, close } = this.ingest.takeDue()
    for (const { start, announced } of publish) this.windows.publish(start, announced)
    for (const { start, books } of close) this.windows.close(start, books)
    if (random.chance(0.01)) this.ingest.continueAsNew()
    if (world.faults && world.terminates && random.chance(0.02)) this.windows.terminate()
    if (world.faults && world.loses && random.chance(0.02)) this.kafka.lose()
    if (random.chance(0.1)) this.operator.advance()
    const awake = this.awake()
    if (awake.length === 0 || random.chance(0.3)) this.windows.advance()
    else this.advancePoller(random.pick(awake))
  }

  private receive(): void {
    const { arrivals, world } = this
    while (this.arrived < arrivals.length && arrivals[this.arrived]!.at <= world.clock)
      this.kafka.append(arrivals[this.arrived++]!)
    if (this.arrived === arrivals.length && world.faults) this.endFaults()
  }

  /** From here on nothing fails, and the rest is finished. */
  private endFaults(): void {
    this.world.faults = false
    for (const poller of this.pollers) poller.asleepUntil = 0
    this.rebalance()
  }

  private settled(): boolean {
    const { world, windows, ingest } = this
    return !world.faults && !world.echoing && windows.running === 0 && ingest.finished
  }

  private startPoller(): void {
    const { world, kafka, ingest, windows, sink } = this
    this.pollers.push(new PollerProcess({ world, kafka, ingest, windows, sink }, ++this.names))
    this.rebalance()
  }

  private awake(): PollerProcess[] {
    return this.pollers.filter(({ asleepUntil }) => asleepUntil <= this.world.clock)
  }

  private rebalance(): void {
    this.kafka.rebalance(this.awake().map(({ name }) => name))
  }

  private advancePoller(poller: PollerProcess): void {
    const { world } = this
    const step = poller.advance()
    if (!world.faults || step === 'wait' || !world.random.chance(0.03)) return
    const fault = world.random.pick(FAULTS)
    world.met(`${fault} at ${step}`)
    if (fault === 'crash') this.pollers = this.pollers.filter(other => other !== poller)
    if (fault === 'zombie') poller.asleepUntil = world.clock + world.random.below(120_000)
    if (fault !== 'rebalance' || (world.random.chance(0.5) && this.pollers.length < 4)) this.startPoller()
    else this.rebalance()
  }

  /** How many were sent. */
  private get records(): number {
    return this.arrivals.reduce((sum, { removed }) => sum + 1 + removed, 0)
  }

  private check(): void {
    if (this.world.loses) return this.checkRecords()
    const expected = countLog(this.kafka.log, this.world.allowedLateness)
    const { hits, lateByWatermark, lateByClosing, rejected } = this.sink
    const late = sumOf(lateByWatermark, lateByClosing)
    expectEqual('hits and late together', sumOf(hits, late), sumOf(expected.hits, expected.late))
    expectEqual('late by the watermark', lateByWatermark, expected.late)
    if (lateByClosing.size === 0) expectEqual('hits', hits, expected.hits)
    if (rejected !== expected.rejected)
      throw new Error(`rejected: ${rejected} instead of ${expected.rejected}`)
    this.checkLate()
    this.checkTotals({
      records: this.records,
      hits: totalOf(expected.hits),
      late: totalOf(expected.late),
      rejected: expected.rejected,
    })
  }

  /** What is lost before it is read depends on the time, but each record is counted once. */
  private checkRecords(): void {
    const { records } = this
    const partitions = Object.values(this.ingest.state.partitions)
    const done = partitions.reduce((sum, { totals }) => sum + totals.records, 0)
    if (done !== records || this.ingest.announcedRecords !== records)
      throw new Error(
        `${done} records are done, and ${this.ingest.announcedRecords} were announced, of ${records}`,
      )
  }

  private checkLate(): void {
    for (const { start, delta } of this.sink.lateDeltas)
      if (!this.ingest.mayBeLate(start, delta))
        throw new Error(`offset ${delta.first} of ${delta.partition} missed window ${start} without a reason`)
  }

  private checkTotals(expected: Record<'records' | 'hits' | 'late' | 'rejected', number>): void {
    const partitions = Object.values(this.ingest.state.partitions)
    for (const key of ['records', 'hits', 'late', 'rejected'] as const) {
      const counted = partitions.reduce((sum, { totals }) => sum + totals[key], 0)
      if (counted !== expected[key])
        throw new Error(`the ledger counted ${counted} ${key} instead of ${expected[key]}`)
    }
  }
}
