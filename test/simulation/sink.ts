import { hitsOf, type ColumnarCounts } from '../../src/core/columnar'
import type {
  AppliedPartition,
  Balance,
  Delta,
  RangeExceptions,
  StagedDeltas,
  ToldBook,
} from '../../src/core/messages'
import { judge } from '../../src/core/window-state'
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
  readonly lateByWatermark: Counts = new Map()
  readonly lateByClosing: Counts = new Map()
  readonly lateDeltas: { start: number; delta: Delta }[] = []
  rejected = 0
  private readonly windows = new Map<number, PublishedWindow>()
  private readonly pieces = new Map<string, ColumnarCounts[]>()
  private readonly ranges = new Set<string>()
  private readonly exceptions = new Map<number, number>()
  private readonly books = new Map<number, Map<number, { hits: number; exceptions: number }>>()
  private readonly staged = new Map<number, Map<string, Delta>>()

  constructor(private readonly world: World) {}

  find(start: number): PublishedWindow | undefined {
    return this.windows.get(start)
  }

  /** Undefined where a piece has not arrived yet: it has to be tried again. */
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
    return { balance: this.settle(start, books) }
  }

  /** What is there already stands. */
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
      throw new Error(`the staged deltas of window ${start} have other hits than it was sent`)
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
    const books = this.books.get(start) ?? new Map<number, { hits: number; exceptions: number }>()
    this.books.set(start, books)
    for (const book of told) if ('hits' in book) books.set(book.book, book)
    const sum = { hits: 0, exceptions: 0 }
    for (const { hits, exceptions } of books.values()) {
      sum.hits += hits
      sum.exceptions += exceptions
    }
    return { told: sum, accounted: this.accounted(start) }
  }

  private accounted(start: number): Balance['accounted'] {
    const hits: Counts = new Map()
    for (const columns of this.windows.get(start)?.counts ?? []) addColumns(hits, start, columns)
    const late = this.lateDeltas.filter(late => late.start === start)
    const lateHits = late.reduce((sum, { delta }) => sum + delta.hits, 0)
    return { hits: totalOf(hits) + lateHits, exceptions: this.exceptions.get(start) ?? 0 }
  }

  stage(chain: number, number: number, counts: ColumnarCounts[]): void {
    this.pieces.set(`${chain}:${number}`, counts)
  }

  private piecesOf({ pieces: { chain, count } }: Pick<WindowResult, 'pieces'>): ColumnarCounts[] | undefined {
    const pieces = Array.from({ length: count }, (_, i) => this.pieces.get(`${chain}:${i + 1}`))
    return pieces.every(piece => piece !== undefined) ? pieces.flat() : undefined
  }

  /** Undefined where a piece has not arrived yet: it has to be tried again. */
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
    // Empty from here on: a call that is repeated finds nothing to do, and does not wait for them.
    for (let number = 1; number <= pieces.count; number++) this.pieces.set(`${pieces.chain}:${number}`, [])
    return { balance: this.settle(start, books) }
  }

  /** One that had no hits has no result, until there are late ones. */
  private closedWindow(start: number, deltas: Delta[]): PublishedWindow {
    const none: PublishedWindow = { revision: 0, status: 'closed', applied: [], counts: [] }
    const window = this.windows.get(start) ?? none
    if (deltas.some(({ hits }) => hits > 0)) this.windows.set(start, window)
    return window
  }

  private recordLate(start: number, delta: Delta, window: PublishedWindow): void {
    const { partition, from, basis, last, exceptions } = delta
    const applied = window.applied.find(known => known.partition === partition)
    const verdict = this.world.mutant === 'no deduplication' ? 'applied' : judge(delta, applied?.last)
    if (verdict === 'overlap') throw new Error(`an overlapping delta reached closed window ${start}`)
    this.world.met(`a ${verdict === 'repeat' ? 'repeat' : 'late delta'} reached a closed window`)
    if (verdict === 'repeat') return
    if (applied) applied.last = last
    else window.applied.push({ partition, from, basis, last })
    if (exceptions && !exceptions.recorded)
      this.recordExceptions({ partition, from, window: start, ...exceptions })
    const counted = delta.staged ? this.staged.get(start)?.get(`${partition}:${last}`) : delta
    if (!counted) throw new Error(`a staged delta of window ${start} is gone`)
    addColumns(this.lateByClosing, start, counted)
    if (delta.hits > 0) this.lateDeltas.push({ start, delta })
  }

  recordExceptions(range: RangeExceptions): void {
    const window = range.window!
    const key = `${range.partition}:${range.from}:${window}`
    if (this.ranges.has(key)) return
    this.ranges.add(key)
    let records = 0
    for (const { windowStart, ...columns } of range.late) {
      addColumns(this.lateByWatermark, windowStart, columns)
      records += hitsOf(columns)
    }
    for (const rejected of Object.values(range.rejected)) records += rejected
    for (const rejected of Object.values(range.rejected)) this.rejected += rejected
    this.exceptions.set(window, (this.exceptions.get(window) ?? 0) + records)
  }

  get hits(): Counts {
    const hits: Counts = new Map()
    for (const [start, { counts }] of this.windows)
      for (const columns of counts) addColumns(hits, start, columns)
    return hits
  }
}
