import type { ColumnarCounts } from '../../src/core/columnar'
import type { AppliedPartition, Delta, RangeExceptions } from '../../src/core/messages'
import { judge } from '../../src/core/window-state'
import { addColumns, type Counts } from './counts'
import type { World } from './world'

export interface WindowResult {
  revision: number
  status: 'published' | 'closed'
  counts: ColumnarCounts
  /** How many pieces were sent ahead, by which chain of runs. */
  pieces: { chain: number; count: number }
  applied: AppliedPartition[]
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

  constructor(private readonly world: World) {}

  find(start: number): PublishedWindow | undefined {
    return this.windows.get(start)
  }

  /** False where a piece has not arrived yet: it has to be tried again. */
  publish(start: number, result: WindowResult): boolean {
    const { revision, status } = result
    const known = this.windows.get(start)
    if (!known || known.revision < revision || this.world.mutant === 'no revision guard') {
      const pieces = this.piecesOf(result)
      if (!pieces) return false
      const applied = result.applied.map(partition => ({ ...partition }))
      this.windows.set(start, { revision, status, counts: [...pieces, result.counts], applied })
    } else if (known.revision === revision && known.status === 'published' && status === 'closed') {
      this.world.met('a window was closed as it had been published')
      known.status = 'closed'
    }
    return true
  }

  stage(chain: number, number: number, counts: ColumnarCounts[]): void {
    this.pieces.set(`${chain}:${number}`, counts)
  }

  private piecesOf({ pieces: { chain, count } }: Pick<WindowResult, 'pieces'>): ColumnarCounts[] | undefined {
    const pieces = Array.from({ length: count }, (_, i) => this.pieces.get(`${chain}:${i + 1}`))
    return pieces.every(piece => piece !== undefined) ? pieces.flat() : undefined
  }

  /** False where a piece has not arrived yet: it has to be tried again. */
  recordClosed(start: number, deltas: Delta[], pieces: WindowResult['pieces']): boolean {
    const window = this.windows.get(start)!
    const sentAhead = this.piecesOf({ pieces }) as Delta[] | undefined
    if (!sentAhead) return false
    if (sentAhead.length > 0) this.world.met('a piece of unmerged deltas reached a closed window')
    window.status = 'closed'
    for (const delta of [...sentAhead, ...deltas]) {
      const applied = window.applied.find(({ partition }) => partition === delta.partition)
      const verdict = this.world.mutant === 'no deduplication' ? 'applied' : judge(delta, applied?.last)
      if (verdict === 'overlap') throw new Error(`an overlapping delta reached closed window ${start}`)
      this.world.met(`a ${verdict === 'repeat' ? 'repeat' : 'late delta'} reached a closed window`)
      if (verdict === 'repeat') continue
      const { partition, from, basis, last } = delta
      if (applied) applied.last = last
      else window.applied.push({ partition, from, basis, last })
      addColumns(this.lateByClosing, start, delta)
      this.lateDeltas.push({ start, delta })
    }
    // Empty from here on: a call that is repeated finds nothing to do, and does not wait for them.
    for (let number = 1; number <= pieces.count; number++) this.pieces.set(`${pieces.chain}:${number}`, [])
    return true
  }

  recordExceptions(range: RangeExceptions): void {
    const key = `${range.partition}:${range.from}`
    if (this.ranges.has(key)) return
    this.ranges.add(key)
    for (const { windowStart, ...columns } of range.late)
      addColumns(this.lateByWatermark, windowStart, columns)
    for (const records of Object.values(range.rejected)) this.rejected += records
  }

  get hits(): Counts {
    const hits: Counts = new Map()
    for (const [start, { counts }] of this.windows)
      for (const columns of counts) addColumns(hits, start, columns)
    return hits
  }
}
