import { hitsOf, type ColumnarCounts } from '../../src/core/counts/columnar'
import type {
  AppliedPartition,
  Balance,
  Delta,
  RangeExceptions,
  StagedDeltas,
  Sums,
  ToldBook,
} from '../../src/core/window/protocol'
import { isBalanced } from '../../src/core/window/protocol'
import type { CountedStretch } from '../../src/core/window/recount'
import { classifyDelta } from '../../src/core/window/window-state'
import { addColumns, totalOf, type Counts } from './counts'
import type { World } from './world'

export interface WindowResult {
  revision: number
  status: 'published' | 'closed'
  counts: ColumnarCounts
  /** How many pieces were sent ahead, by which chain of runs. */
  pieces: { chain: number; count: number }
  staged: StagedDeltas
  applied: AppliedPartition[]
  hits: number
  books: ToldBook[]
}

interface PublishedWindow extends Pick<WindowResult, 'revision' | 'status' | 'applied'> {
  counts: ColumnarCounts[]
}

/** Postgres as the product uses it: every method is one transaction. */
export class Sink {
  /** Including the counts of staged ones. */
  lateDeltas: { start: number; delta: Delta }[] = []
  private readonly windows = new Map<number, PublishedWindow>()
  private readonly pieces = new Map<string, ColumnarCounts[]>()
  /** Recorded exceptions, once per range and window. */
  private ranges = new Map<string, RangeExceptions>()
  private readonly books = new Map<number, Map<number, { hits: number; exceptions: number }>>()
  private readonly staged = new Map<number, Map<string, Delta>>()

  constructor(
    private readonly world: World,
    private readonly announcedFor: (start: number) => Sums,
  ) {}

  /** A window with exceptions only is closed without a result. */
  find(start: number): PublishedWindow | undefined {
    const closed: PublishedWindow = { revision: 0, status: 'closed', applied: [], counts: [] }
    return this.windows.get(start) ?? (this.books.has(start) ? closed : undefined)
  }

  /** Undefined if a piece has not arrived yet and the call must be retried. */
  publish(start: number, result: WindowResult): { balance: Balance | undefined } | undefined {
    const { revision, status, books } = result
    const known = this.windows.get(start)
    const isNew = known ? known.status !== 'closed' && known.revision < revision : result.hits > 0
    if (isNew || this.world.mutant === 'no revision guard') {
      const pieces = this.piecesOf(result)
      if (!pieces) return undefined
      const applied = result.applied.map(partition => ({ ...partition }))
      const counts = [...pieces, ...this.stagedCounts(start, result), result.counts]
      this.windows.set(start, { revision, status, counts, applied })
    } else if (known?.revision === revision && known.status === 'published' && status === 'closed') {
      this.world.met('a window was closed as it had been published')
      known.status = 'closed'
    }
    if (this.windows.get(start)?.status === 'closed') this.dropStaged(start)
    if (isNew && status === 'closed') this.checkWhole(start, books)
    return { balance: this.settle(start, books) }
  }

  /** Compares with the simulation's own count of the announcements. */
  private checkWhole(start: number, books: ToldBook[]): void {
    const told = books.reduce((sum, book) => sum + ('hits' in book ? book.hits : 0), 0)
    const { hits } = this.accounted(start)
    if (told > this.announcedFor(start).hits)
      throw new Error(`the books of window ${start} have more than was announced`)
    if (hits < told) throw new Error(`window ${start} was closed with ${hits} hits of ${told}`)
  }

  /** The first version stays. */
  stageDelta(start: number, delta: Delta): Delta {
    const key = `${delta.partition}:${delta.last}`
    const staged = this.staged.get(start) ?? new Map<string, Delta>()
    this.staged.set(start, staged)
    if (!staged.has(key)) staged.set(key, delta)
    const { first, hits } = staged.get(key)!
    return { ...delta, first, hits, hosts: [], referrers: [], countries: [], rows: '', staged: true }
  }

  private stagedCounts(start: number, { staged: { hits, last } }: WindowResult): ColumnarCounts[] {
    const found = last.flatMap(([partition, offsets]) =>
      offsets.map(offset => {
        const delta = this.staged.get(start)?.get(`${partition}:${offset}`)
        if (!delta) throw new Error(`a staged delta of window ${start} is gone`)
        return delta
      }),
    )
    if (found.reduce((sum, delta) => sum + delta.hits, 0) !== hits)
      throw new Error(`the staged deltas of window ${start} have other hits than it reports`)
    return found
  }

  private dropStaged(start: number): void {
    const applied = this.windows.get(start)!.applied
    const staged = this.staged.get(start)
    for (const [key, delta] of staged ?? [])
      if ((applied.find(({ partition }) => partition === delta.partition)?.last ?? -1) >= delta.last)
        staged!.delete(key)
  }

  private settle(start: number, told: ToldBook[]): Balance | undefined {
    if (told.length === 0) return undefined
    const balance = { told: this.enterBooks(start, told), accounted: this.accounted(start) }
    this.checkNotMore(start, balance.accounted)
    return balance
  }

  /** Compares with the simulation's own count of the announcements. */
  private checkNotMore(start: number, { hits, exceptions }: Sums): void {
    const announced = this.announcedFor(start)
    if (!this.accepted.has(start) && (hits > announced.hits || exceptions > announced.exceptions))
      throw new Error(`window ${start} has more than was announced`)
  }

  private enterBooks(start: number, told: ToldBook[]): Sums {
    const books = this.books.get(start) ?? new Map<number, { hits: number; exceptions: number }>()
    this.books.set(start, books)
    for (const book of told) if ('hits' in book) books.set(book.book, book)
    const sum = { hits: 0, exceptions: 0 }
    for (const { hits, exceptions } of books.values()) {
      sum.hits += hits
      sum.exceptions += exceptions
    }
    return sum
  }

  private accounted(start: number): Balance['accounted'] {
    const hits: Counts = new Map()
    for (const columns of this.windows.get(start)?.counts ?? []) addColumns(hits, start, columns)
    const late = this.lateDeltas.filter(late => late.start === start)
    const lateHits = late.reduce((sum, { delta }) => sum + delta.hits, 0)
    const ranges = [...this.ranges.values()].filter(({ window }) => window === start)
    return {
      hits: totalOf(hits) + lateHits,
      exceptions: ranges.reduce((sum, range) => sum + recordsOf(range), 0),
    }
  }

  stage(chain: number, number: number, counts: ColumnarCounts[]): void {
    this.pieces.set(`${chain}:${number}`, counts)
  }

  private piecesOf({ pieces: { chain, count } }: Pick<WindowResult, 'pieces'>): ColumnarCounts[] | undefined {
    const pieces = Array.from({ length: count }, (_, i) => this.pieces.get(`${chain}:${i + 1}`))
    return pieces.every(piece => piece !== undefined) ? pieces.flat() : undefined
  }

  /** Undefined if a piece has not arrived yet and the call must be retried. */
  recordClosed(
    start: number,
    deltas: Delta[],
    pieces: WindowResult['pieces'],
    books: ToldBook[],
  ): { balance: Balance | undefined } | undefined {
    const window = this.closedWindow(start, deltas)
    const sentAhead = this.piecesOf({ pieces }) as Delta[] | undefined
    if (!sentAhead) return undefined
    if (this.windows.has(start)) window.status = 'closed'
    for (const delta of [...sentAhead, ...deltas]) this.recordLate(start, delta, window)
    if (this.windows.has(start)) this.dropStaged(start)
    // Empty them, so that a repeated call finds nothing to do and does not wait for them.
    for (let number = 1; number <= pieces.count; number++) this.pieces.set(`${pieces.chain}:${number}`, [])
    return { balance: this.settle(start, books) }
  }

  /** A window without hits has no result until late ones come. */
  private closedWindow(start: number, deltas: Delta[]): PublishedWindow {
    const none: PublishedWindow = { revision: 0, status: 'closed', applied: [], counts: [] }
    const window = this.windows.get(start) ?? none
    if (deltas.some(({ hits }) => hits > 0)) this.windows.set(start, window)
    return window
  }

  private recordLate(start: number, delta: Delta, window: PublishedWindow): void {
    const { partition, from, basis, last, exceptions } = delta
    const applied = window.applied.find(known => known.partition === partition)
    const verdict = this.world.mutant === 'no deduplication' ? 'applied' : classifyDelta(delta, applied?.last)
    if (verdict === 'overlap') throw new Error(`an overlapping delta reached closed window ${start}`)
    this.world.met(`a ${verdict === 'repeat' ? 'repeat' : 'late delta'} reached a closed window`)
    if (verdict === 'repeat') return
    if (applied) applied.last = last
    else window.applied.push({ partition, from, basis, last })
    if (exceptions && !exceptions.recorded)
      this.recordExceptions({ partition, from, to: last + 1, window: start, ...exceptions })
    const counted = delta.staged ? this.staged.get(start)?.get(`${partition}:${last}`) : delta
    if (!counted) throw new Error(`a staged delta of window ${start} is gone`)
    const { hosts, referrers, countries, rows } = counted
    if (delta.hits > 0)
      this.lateDeltas.push({ start, delta: { ...delta, hosts, referrers, countries, rows } })
  }

  recordExceptions(range: RangeExceptions): void {
    const { partition, from, to, window } = range
    if (this.isCovered(range)) return
    const known = [...this.ranges.values()].find(
      other =>
        other.partition === partition && other.window === window && from < other.to! && other.from < to!,
    )
    if (!known) this.ranges.set(`${partition}:${from}:${window}`, range)
    else if (known.from !== from || known.to !== to)
      throw new Error(`late or rejected records of window ${window} were cut in two ways`)
  }

  /** Whether a repair has recorded the exceptions of the range. */
  private isCovered({ partition, from, window }: RangeExceptions): boolean {
    return from < (this.repairedTo.get(`${partition}:${window}`) ?? -1)
  }

  private readonly repairedTo = new Map<string, number>()
  /** Windows whose loss was accepted. */
  private readonly accepted = new Set<number>()

  /** Changes nothing and returns undefined if the log does not contain what was announced. */
  repair(
    start: number,
    counted: (withLost: boolean) => CountedStretch[],
    columns: ColumnarCounts,
    books: ToldBook[],
    acceptLoss: boolean,
  ): Balance | undefined {
    const [ranges, late] = [this.ranges, this.lateDeltas]
    const told = this.enterBooks(start, books)
    let stretches = counted(true)
    const stretchOf = (partition: number) => stretches.find(stretch => stretch.partition === partition)
    const isCounted = (partition: number, from: number) => from < (stretchOf(partition)?.to ?? -1)
    const known = this.windows.get(start)
    const beyond = {
      hits: this.lateDeltas
        .filter(({ start: of, delta }) => of === start && !isCounted(delta.partition, delta.from))
        .reduce((sum, { delta }) => sum + delta.hits, 0),
      exceptions: [...ranges.values()]
        .filter(range => range.window === start && !isCounted(range.partition, range.from))
        .reduce((sum, range) => sum + recordsOf(range), 0),
    }
    const exceptions = stretches.reduce((sum, { records }) => sum + records, beyond.exceptions)
    if (exceptions !== told.exceptions) stretches = counted(false)
    this.ranges = new Map(
      [...ranges].filter(([, r]) => r.window !== start || !isCounted(r.partition, r.from)),
    )
    for (const { partition, from, exceptions, records } of stretches)
      if (records > 0) this.ranges.set(`${partition}:${from}:${start}`, exceptions)
    this.lateDeltas = late.filter(
      ({ start: of, delta }) => of !== start || !isCounted(delta.partition, delta.from),
    )
    const before = known?.applied ?? []
    const applied = before.filter(({ partition }) => !stretchOf(partition))
    for (const { partition, from, basis, to, last: found } of stretches) {
      const known = before.find(applied => applied.partition === partition)
      const last = Math.max(acceptLoss ? to - 1 : found, known?.last ?? -1)
      if (last >= from) applied.push({ partition, from, basis, last })
    }
    const revision = (known?.revision ?? 0) + 1
    this.windows.set(start, { revision, status: 'closed', counts: [columns], applied })
    const accounted = this.accounted(start)
    accounted.hits -= beyond.hits
    accounted.exceptions -= beyond.exceptions
    if (acceptLoss) this.correctBooks(start, { told, accounted })
    const balance = { told: acceptLoss ? accounted : told, accounted }
    if (isBalanced(balance)) {
      for (const { partition, to } of stretches) this.repairedTo.set(`${partition}:${start}`, to)
      this.dropStaged(start)
      return balance
    }
    // Roll back.
    this.ranges = ranges
    this.lateDeltas = late
    if (known) this.windows.set(start, known)
    else this.windows.delete(start)
    return undefined
  }

  private correctBooks(start: number, { told, accounted }: Balance): void {
    this.accepted.add(start)
    const books = this.books.get(start)!
    books.set(-1 - books.size, {
      hits: accounted.hits - told.hits,
      exceptions: accounted.exceptions - told.exceptions,
    })
  }

  get lateByWatermark(): Counts {
    const late: Counts = new Map()
    for (const range of this.ranges.values())
      for (const { windowStart, ...columns } of range.late) addColumns(late, windowStart, columns)
    return late
  }

  get lateByClosing(): Counts {
    const late: Counts = new Map()
    for (const { start, delta } of this.lateDeltas) addColumns(late, start, delta)
    return late
  }

  get rejected(): number {
    const records = [...this.ranges.values()].flatMap(range => Object.values(range.rejected))
    return records.reduce((sum, rejected) => sum + rejected, 0)
  }

  get hits(): Counts {
    const hits: Counts = new Map()
    for (const [start, { counts }] of this.windows)
      for (const columns of counts) addColumns(hits, start, columns)
    return hits
  }
}

function recordsOf({ late, rejected }: RangeExceptions): number {
  const lateHits = late.reduce((sum, columns) => sum + hitsOf(columns), 0)
  return Object.values(rejected).reduce((sum, records) => sum + records, lateHits)
}
