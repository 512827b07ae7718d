import { EventReader } from '../../src/core/event/event-reader'
import type { WindowSource } from '../../src/core/window/ledger'
import { Recount, type StretchRecount } from '../../src/core/window/recount'
import { RULES } from './poller-process'
import type { Ingest } from './ingest'
import type { Kafka } from './kafka'
import type { Sink } from './sink'
import type { WindowRuns } from './window-runs'
import type { Process, World } from './world'

/** Repairs the unbalanced windows, a step at a time, in the order of src/activities/repair.ts. */
export class Operator {
  private repair: Process | undefined

  constructor(
    private readonly world: World,
    private readonly kafka: Kafka,
    private readonly ingest: Ingest,
    private readonly sink: Sink,
    private readonly windows: WindowRuns,
  ) {}

  advance(): void {
    if (!this.repair) {
      const start = this.world.random.pick([...this.ingest.unbalanced, undefined])
      if (start !== undefined) this.repair = this.run(start)
    }
    if (this.repair?.next().done) this.repair = undefined
  }

  private *run(start: number): Process {
    const { world, ingest, sink } = this
    const source = yield* world.call('windowSource', () => ingest.sourceOf(start))
    if (!source || source.open) return
    if (!world.terminates && !world.mayLack && ingest.lacking.includes(start))
      throw new Error(`window ${start} lost hits by itself`)
    const { readers, columns } = this.count(start, source)
    const counted = (withLost: boolean) => readers.map(reader => reader.counted(withLost))
    const repair = (acceptLoss: boolean) =>
      world.call('repairWindow', () => sink.repair(start, counted, columns, source.books, acceptLoss))
    let balance = yield* repair(false)
    if (!balance && world.loses) {
      world.met('the loss of a window was accepted')
      balance = yield* repair(true)
    }
    if (!balance) return
    world.met('a window was repaired')
    const books = source.books.map(({ book }) => book)
    yield* world.call('settled', () => ingest.settled({ start, books, balance }))
    this.windows.end(start)
  }

  private count(start: number, { partitions }: WindowSource) {
    const { allowedLateness } = this.world
    const rules = { ...RULES, allowedLateness }
    const recount = new Recount([{ start }], rules, new EventReader(rules))
    const applied = this.sink.find(start)?.applied ?? []
    const readers: StretchRecount[] = []
    for (const { partition, from, basis, to } of partitions) {
      const before = applied.find(known => known.partition === partition)
      const begin = before && before.from < from ? before : { from, basis }
      const end = Math.max(to, (before?.last ?? -1) + 1)
      if (begin.from >= end) continue
      const given = { partition, from: begin.from, basis: begin.basis, to: end, hitsTo: end }
      const reader = recount.stretch(start, given, this.kafka.low[partition]!)
      const records = this.kafka.fetch(partition, begin.from, Infinity).filter(({ offset }) => offset < end)
      if (!reader.done) reader.read(records, end, this.kafka.removed[partition])
      readers.push(reader)
    }
    return { readers, columns: recount.counterOf(start).columns() }
  }
}
