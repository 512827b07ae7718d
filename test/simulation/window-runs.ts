import type { AppliedPartition, Delta } from '../../src/core/messages'
import { WindowState, type Piece, type WindowSnapshot } from '../../src/core/window-state'
import type { Sink } from './sink'
import { DELAY, WINDOW } from './traffic'
import type { Process, World } from './world'

/**
 * The workflow ids of windows. A run that has ended leaves nothing behind: Temporal may have forgotten it, and the
 * next delta starts another.
 */
export class WindowRuns {
  private readonly runs = new Map<number, WindowRun>()
  private chains = 0

  constructor(
    private readonly world: World,
    private readonly sink: Sink,
  ) {}

  /** Signal-with-start. */
  deliver(start: number, deltas: Delta[]): void {
    let run = this.runs.get(start)
    if (!run) {
      if (this.sink.find(start)) this.world.met('a run started for a closed window')
      run = new WindowRun(this.world, this.sink, start, ++this.chains)
      this.runs.set(start, run)
    }
    run.inbox.push(...deltas)
  }

  tell(start: number, what: 'publish' | 'close'): void {
    const run = this.runs.get(start)
    if (run && run.told !== 'close') run.told = what
  }

  /** Lets one run, any, take its next step. */
  advance(): void {
    if (this.runs.size === 0) return
    const run = this.world.random.pick([...this.runs.values()])
    if (run.advance()) this.runs.delete(run.start)
  }

  get running(): number {
    return this.runs.size
  }
}

/** A window's workflow, run after run, in the order of src/workflows/window.ts. */
class WindowRun {
  readonly inbox: Delta[] = []
  told: 'wait' | 'publish' | 'close' = 'wait'
  private window: WindowState
  private opened = false
  private readonly unsent: Piece[] = []
  private revision = 0
  private changed = false
  private readonly process: Process

  constructor(
    private readonly world: World,
    private readonly sink: Sink,
    readonly start: number,
    private readonly chain: number,
  ) {
    this.window = new WindowState(undefined, world.maxPieceBytes)
    this.process = this.run()
  }

  /** Returns whether the run has ended. */
  advance(): boolean {
    return this.process.next().done === true
  }

  private *run(): Process {
    // Merged, and no longer there to be recorded as late.
    if (this.world.mutant === 'a delta merged before openWindow has answered') this.open()
    this.receive()
    if (this.world.random.chance(0.3)) this.continueAsNew()
    const known = yield* this.world.call('openWindow', () => this.sink.find(this.start))
    if (known) {
      yield* this.recordClosed(this.window.takeWaiting(), this.window.pieces)
    } else {
      this.open()
      yield* this.serve()
      yield* this.write('closed')
    }
    yield* this.recordClosed()
  }

  private open(): void {
    this.opened = true
    this.window.open()
  }

  private *serve(): Process {
    for (;;) {
      this.receive()
      if (this.mayClose) return
      if (this.mayPublish && this.world.random.chance(0.5)) yield* this.write('published')
      else if (this.world.random.chance(0.02)) this.continueAsNew()
      yield 'wait'
    }
  }

  private get mayClose(): boolean {
    return this.told === 'close' && this.isPast(WINDOW + DELAY + this.world.allowedLateness)
  }

  private get mayPublish(): boolean {
    if (this.revision > 0) return this.changed
    return this.told !== 'wait' && this.isPast(WINDOW + DELAY)
  }

  private isPast(span: number): boolean {
    return this.world.clock >= this.start + span
  }

  private *write(status: 'published' | 'closed'): Process {
    const { start, window, chain } = this
    yield* this.sendPieces()
    if (this.changed || this.revision === 0) this.revision++
    if (this.revision > 1 && this.changed) this.world.met('a result was corrected')
    this.changed = false
    const { revision } = this
    const pieces = { chain, count: window.pieces }
    const result = { revision, status, counts: window.columns(), pieces, applied: copyOf(window.applied) }
    while (!(yield* this.world.call('writeWindow', () => this.sink.publish(start, result)))) yield 'wait'
    if (status === 'closed' && this.inbox.length > 0)
      this.world.met('a delta came while its window was written')
  }

  private *recordClosed(waited: Delta[] = [], count = 0): Process {
    this.inbox.unshift(...waited)
    yield* this.sendPieces()
    while (this.inbox.length > 0 || count > 0) {
      const deltas = this.inbox.splice(0)
      const pieces = { chain: this.chain, count }
      const record = () => this.sink.recordClosed(this.start, deltas, pieces)
      while (!(yield* this.world.call('recordClosed', record))) yield 'wait'
      count = 0
    }
  }

  private receive(): void {
    for (const delta of this.inbox.splice(0)) {
      const verdict = this.window.apply(
        this.world.mutant === 'no deduplication' ? { ...delta, ...this.unseen(delta) } : delta,
      )
      if (verdict === 'overlap') throw new Error(`an overlapping delta reached window ${this.start}`)
      if (verdict === 'applied') this.changed = true
    }
    this.unsent.push(...this.window.takePieces())
  }

  private *sendPieces(): Process {
    for (let piece = this.unsent.shift(); piece; piece = this.unsent.shift()) {
      const { number, counts } = piece
      this.world.met('a piece was sent ahead')
      yield* this.world.call('stagePiece', () => this.sink.stage(this.chain, number, counts))
    }
  }

  private continueAsNew(): void {
    this.world.met('a window continued as new')
    const carried = JSON.parse(JSON.stringify(this.window.snapshot())) as WindowSnapshot
    this.window = new WindowState(carried, this.world.maxPieceBytes)
    if (this.opened) this.window.open()
  }

  /** Offsets that a window without a memory would take for new. */
  private unseen({ partition, last }: Delta): Pick<Delta, 'first' | 'last'> {
    const applied = this.window.applied.find(known => known.partition === partition)?.last ?? -1
    return { first: applied + 1, last: Math.max(last, applied + 1) }
  }
}

const copyOf = (applied: AppliedPartition[]) => applied.map(partition => ({ ...partition }))
