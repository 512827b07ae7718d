import type { Delta, Settlement, ToldBook } from '../../src/core/window/protocol'
import { isBalanced, type AppliedPartition, type Balance } from '../../src/core/window/protocol'
import { WindowState, type WindowSnapshot } from '../../src/core/window/window-state'
import type { Sink } from './sink'
import { DELAY, WINDOW } from './traffic'
import type { Process, World } from './world'

/** The runs of windows, by workflow id. A run that has ended leaves nothing behind; the next delta starts another. */
export class WindowRuns {
  private readonly runs = new Map<number, WindowRun>()
  private chains = 0

  constructor(
    private readonly world: World,
    private readonly sink: Sink,
    private readonly settled: (settlement: Settlement) => void,
  ) {}

  /** Signal-with-start. */
  deliver(start: number, deltas: Delta[]): void {
    this.run(start).inbox.push(...deltas)
  }

  private run(start: number): WindowRun {
    const known = this.runs.get(start)
    if (known) return known
    if (this.sink.find(start)) this.world.met('a run started for a closed window')
    const run = new WindowRun(this.world, this.sink, start, ++this.chains, this.settled)
    this.runs.set(start, run)
    return run
  }

  publish(start: number, announced: Balance['told'] | undefined): void {
    const run = this.runs.get(start)
    if (!run) return
    if (run.signal !== 'close') run.signal = 'publish'
    run.announced = announced
  }

  /** Starts a run for the books if there is none. */
  close(start: number, books: ToldBook[]): void {
    if (!this.runs.has(start)) this.world.met('a run was started for its book')
    this.run(start).close(books)
  }

  /** After a repair: closes the run, if there is one. */
  end(start: number): void {
    this.runs.get(start)?.close([])
  }

  /** Advances a random run by one step. */
  advance(): void {
    if (this.runs.size === 0) return
    const run = this.world.random.pick([...this.runs.values()])
    if (run.advance()) this.runs.delete(run.start)
  }

  /** By hand: the run's state is lost, but calls that it began may still take effect. */
  terminate(): void {
    if (this.runs.size === 0) return
    this.world.met('a run was terminated')
    this.runs.delete(this.world.random.pick([...this.runs.keys()]))
  }

  get running(): number {
    return this.runs.size
  }
}

/** A window's workflow, run after run, in the order of src/workflows/window.ts. */
class WindowRun {
  readonly inbox: Delta[] = []
  signal: 'wait' | 'publish' | 'close' = 'wait'
  announced: Balance['told'] | undefined
  private window: WindowState
  private opened = false
  private readonly books: ToldBook[] = []
  private revision = 0
  private changed = false
  private readonly process: Process

  constructor(
    private readonly world: World,
    private readonly sink: Sink,
    readonly start: number,
    private readonly chain: number,
    private readonly settled: (settlement: Settlement) => void,
  ) {
    this.window = new WindowState(undefined, world.maxPieceBytes)
    this.process = this.run()
  }

  /** Returns whether the run has ended. */
  advance(): boolean {
    return this.process.next().done === true
  }

  close(books: ToldBook[]): void {
    this.signal = 'close'
    for (const book of books) if (!this.books.some(known => known.book === book.book)) this.books.push(book)
  }

  private *run(): Process {
    // Merges deltas that would have to be recorded as late.
    if (this.world.mutant === 'a delta merged before openWindow has answered') this.open()
    this.receive()
    if (this.world.random.chance(0.3)) this.continueAsNew()
    const known = yield* this.world.call('openWindow', () => this.sink.find(this.start))
    if (known) {
      if (known.status === 'published') {
        this.world.met('a run found what another had published')
        while (this.signal !== 'close') yield 'wait'
        yield* this.untilRepaired({ hits: 0, exceptions: 0 })
      }
      yield* this.recordClosed(this.window.takeWaiting(), this.window.pieces)
      return
    }
    this.open()
    yield* this.serve()
    yield* this.recordAll()
    if (this.lacks && this.world.mutant !== 'an incomplete window is written') {
      if (yield* this.hasNothingButExceptions()) this.world.met('a window had nothing but exceptions')
      else {
        this.world.met('a window had less than was announced')
        const { hits, exceptions } = this.window
        yield* this.untilRepaired({ hits, exceptions })
      }
      return yield* this.recordClosed()
    }
    yield* this.write('closed')
    yield* this.recordClosed()
  }

  /** Whether an earlier run has recorded them all. */
  private *hasNothingButExceptions(): Process<boolean> {
    if (this.revision > 0 || this.sumOfBooks.hits > 0) return false
    const books = [...this.books]
    const none = { chain: this.chain, count: 0 }
    const asked = yield* this.world.call('recordClosed', () =>
      this.sink.recordClosed(this.start, [], none, books),
    )
    return asked?.balance !== undefined && isBalanced(asked.balance)
  }

  private open(): void {
    this.opened = true
    this.window.open()
  }

  private *serve(): Process {
    for (;;) {
      this.receive()
      if (this.mayClose) return
      if (this.inbox.length > 0) yield* this.stagePiece()
      else if (this.window.toRecord.length > 0 && this.world.random.chance(0.3))
        yield* this.recordExceptions()
      else if (this.mayPublish && this.world.random.chance(0.5)) yield* this.write('published')
      else if (this.world.random.chance(0.02)) this.continueAsNew()
      yield 'wait'
    }
  }

  private *recordAll(): Process {
    for (;;) {
      this.receive()
      if (this.window.toRecord.length > 0) yield* this.recordExceptions()
      else if (this.inbox.length > 0) yield* this.stagePiece()
      else return
    }
  }

  private *stagePiece(): Process {
    const { number, counts } = this.window.cutPiece()
    this.world.met('a piece was sent ahead')
    yield* this.world.call('stagePiece', () => this.sink.stage(this.chain, number, counts))
  }

  private *recordExceptions(): Process {
    const ranges = this.window.toRecord.map(range => ({ ...range, window: this.start }))
    yield* this.world.call('recordExceptions', () => {
      for (const range of ranges) this.sink.recordExceptions(range)
    })
    this.window.recorded(ranges.length)
  }

  private *untilRepaired(accounted: Balance['accounted']): Process {
    yield* this.settle([...this.books], { told: this.sumOfBooks, accounted })
    while (this.sink.find(this.start)?.status !== 'closed') yield 'wait'
  }

  private get sumOfBooks(): Balance['told'] {
    let told = { hits: 0, exceptions: 0 }
    for (const book of this.books)
      if ('hits' in book)
        told = { hits: told.hits + book.hits, exceptions: told.exceptions + book.exceptions }
    return told
  }

  private get lacks(): boolean {
    return !this.holds(this.sumOfBooks)
  }

  private holds(told: Balance['told'] | undefined): boolean {
    const { hits, exceptions } = this.window
    return !told || (hits >= told.hits && exceptions >= told.exceptions)
  }

  private get mayClose(): boolean {
    return this.signal === 'close' && this.isPast(WINDOW + DELAY + this.world.allowedLateness)
  }

  private get mayPublish(): boolean {
    if (this.revision > 0) return this.changed
    return this.signal !== 'wait' && this.isPast(WINDOW + DELAY) && this.holds(this.announced)
  }

  private isPast(span: number): boolean {
    return this.world.clock >= this.start + span
  }

  private *write(status: 'published' | 'closed'): Process {
    const { start, window, chain } = this
    if (this.changed || this.revision === 0) this.revision++
    if (this.revision > 1 && this.changed) this.world.met('a result was corrected')
    this.changed = false
    const { revision } = this
    const pieces = { chain, count: window.pieces }
    const books = status === 'closed' ? this.books.splice(0) : []
    const { hits, staged } = window
    const result = {
      ...{ revision, status, hits, pieces, books },
      counts: window.columns(),
      staged,
      applied: copyOf(window.applied),
    }
    let written = yield* this.world.call('writeWindow', () => this.sink.publish(start, result))
    for (; !written; written = yield* this.world.call('writeWindow', () => this.sink.publish(start, result)))
      yield 'wait'
    yield* this.settle(books, written.balance)
    if (status === 'closed' && this.inbox.length > 0)
      this.world.met('a delta came while its window was written')
  }

  private *settle(books: ToldBook[], balance: Balance | undefined): Process {
    if (books.length === 0) return
    const settlement = {
      start: this.start,
      books: books.map(({ book }) => book),
      ...(balance && { balance }),
    }
    yield* this.world.call('settled', () => this.settled(settlement))
  }

  private *recordClosed(waited: Delta[] = [], count = 0): Process {
    this.inbox.unshift(...waited)
    while (this.inbox.length > 0 || count > 0 || this.books.length > 0) {
      const deltas = this.inbox.splice(0)
      const books = this.books.splice(0)
      const pieces = { chain: this.chain, count }
      const record = () => this.sink.recordClosed(this.start, deltas, pieces, books)
      let recorded = yield* this.world.call('recordClosed', record)
      for (; !recorded; recorded = yield* this.world.call('recordClosed', record)) yield 'wait'
      count = 0
      yield* this.settle(books, recorded.balance)
    }
  }

  private receive(): void {
    while (this.inbox.length > 0 && this.hasRoomFor(this.inbox[0]!)) this.merge(this.inbox.shift()!)
  }

  private hasRoomFor(delta: Delta): boolean {
    return this.window.hasRoomFor(delta) && this.window.hasRoomForExceptionsOf(delta)
  }

  private merge(delta: Delta): void {
    const verdict = this.window.apply(
      this.world.mutant === 'no deduplication' ? { ...delta, ...this.unseen(delta) } : delta,
    )
    if (verdict === 'overlap') throw new Error(`an overlapping delta reached window ${this.start}`)
    if (verdict === 'applied' && delta.hits > 0) this.changed = true
  }

  private continueAsNew(): void {
    this.world.met('a window continued as new')
    const carried = JSON.parse(JSON.stringify(this.window.snapshot())) as WindowSnapshot
    this.window = new WindowState(carried, this.world.maxPieceBytes)
    if (this.opened) this.window.open()
  }

  /** Offsets that make any delta look new. */
  private unseen({ partition, last }: Delta): Pick<Delta, 'first' | 'last'> {
    const applied = this.window.applied.find(known => known.partition === partition)?.last ?? -1
    return { first: applied + 1, last: Math.max(last, applied + 1) }
  }
}

const copyOf = (applied: AppliedPartition[]) => applied.map(partition => ({ ...partition }))
