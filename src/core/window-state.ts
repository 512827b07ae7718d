import { encodedBytes, GroupCounter, type ColumnarCounts } from './columnar'
import type { AppliedPartition, Delta, Overlap } from './messages'

export type Applied = 'applied' | 'repeat' | 'overlap'

/** Whether a delta is new to a window, given the last offset that was applied of its partition. */
export function judge(delta: Pick<Delta, 'first' | 'last'>, lastApplied: number | undefined): Applied {
  if (lastApplied === undefined || delta.first > lastApplied) return 'applied'
  return delta.last <= lastApplied ? 'repeat' : 'overlap'
}

/** Bytes of counts, as JSON, that a window holds and sends in one message; the server refuses payloads of 2 MB. */
export const MAX_PIECE_BYTES = 1_000_000

/** A window as plain data: what continue-as-new carries over. */
export interface WindowSnapshot {
  /** Deltas that wait for Postgres to say whether the window is closed already. */
  waiting: Delta[]
  counts: ColumnarCounts
  partitions: AppliedPartition[]
  hits: number
  /** Absent in what a release before wrote. */
  unlocated?: number
  deltas: number
  repeats: number
  overlaps: Overlap[]
  pieces: number
}

/** Part of a window's counts, numbered from 1: deltas each for itself, or counted together. */
export interface Piece {
  number: number
  counts: ColumnarCounts[]
}

/**
 * What a window has accumulated: the last offset applied of each partition, and counts, in bounded memory.
 *
 * Deltas wait, each for itself, until {@link open}: in a window that was closed by an earlier run each of them is
 * a repeat or late. What waits or is counted is cut off as a piece before it outgrows a message.
 */
export class WindowState {
  private counter = new GroupCounter()
  private waiting: Delta[] = []
  private waitingBytes = 0
  private opened = false
  private readonly cut: Piece[] = []
  private readonly partitions: Map<number, AppliedPartition>
  hits: number
  /** Hits among them whose look-up failed and was not waited for. */
  unlocated: number
  deltas: number
  /** Deltas that came again, and were dropped. */
  repeats: number
  /** Deltas that overlap what was applied without being covered by it: no range of the protocol gives such. */
  readonly overlaps: Overlap[]
  /** How many pieces were cut; they and what is held make the whole. */
  pieces: number

  constructor(
    carried?: WindowSnapshot,
    private readonly maxPieceBytes = MAX_PIECE_BYTES,
  ) {
    this.partitions = new Map(carried?.partitions.map(applied => [applied.partition, applied]))
    this.hits = carried?.hits ?? 0
    this.unlocated = carried?.unlocated ?? 0
    this.deltas = carried?.deltas ?? 0
    this.repeats = carried?.repeats ?? 0
    this.overlaps = carried?.overlaps ?? []
    this.pieces = carried?.pieces ?? 0
    if (!carried) return
    this.counter.addAll(carried.counts)
    for (const delta of carried.waiting) this.hold(delta)
  }

  /**
   * Takes a delta in once. Ranges of a partition reach the window in order, so the last offset applied tells a
   * repeat (of a retry, a restarted poller, a zombie) from what is new.
   */
  apply(delta: Delta): Applied {
    const known = this.partitions.get(delta.partition)
    const verdict = judge(delta, known?.last)
    if (verdict === 'repeat') this.repeats++
    if (verdict === 'overlap') {
      const { partition, first, last } = delta
      this.overlaps.push({ partition, first, last })
    }
    if (verdict !== 'applied') return verdict
    if (this.heldBytes > 0 && this.heldBytes + encodedBytes(delta) > this.maxPieceBytes) this.cutPiece()
    if (this.opened) this.counter.addAll(delta)
    else this.hold(delta)
    this.hits += delta.hits
    this.unlocated += delta.unlocated ?? 0
    this.deltas++
    const { partition, from, basis, last } = delta
    if (known) known.last = last
    else this.partitions.set(partition, { partition, from, basis, last })
    return verdict
  }

  /** Postgres knows of no result: from here on what waited, and what comes, is counted together. */
  open(): void {
    this.opened = true
    for (const delta of this.takeWaiting()) this.counter.addAll(delta)
  }

  /** The deltas that wait. */
  takeWaiting(): Delta[] {
    this.waitingBytes = 0
    return this.waiting.splice(0)
  }

  private hold(delta: Delta): void {
    this.waiting.push(delta)
    this.waitingBytes += encodedBytes(delta)
  }

  private get heldBytes(): number {
    return this.waitingBytes + (this.counter.groups > 0 ? this.counter.encodedBytes : 0)
  }

  private cutPiece(): void {
    this.pieces++
    const counts = this.opened ? [this.counter.columns()] : this.takeWaiting()
    if (this.opened) this.counter = new GroupCounter()
    this.cut.push({ number: this.pieces, counts })
  }

  /** The pieces that were cut since they were last asked for: to be sent ahead to where the result is put together. */
  takePieces(): Piece[] {
    return this.cut.splice(0)
  }

  /** Groups of what is held: fewer than the window's where pieces were cut. */
  get groups(): number {
    return this.counter.groups
  }

  get applied(): AppliedPartition[] {
    return [...this.partitions.values()].sort((a, b) => a.partition - b.partition)
  }

  /** What is held, counted. */
  columns(): ColumnarCounts {
    return this.counter.columns()
  }

  snapshot(): WindowSnapshot {
    const { waiting, applied: partitions, hits, unlocated, deltas, repeats, overlaps, pieces } = this
    return { waiting, counts: this.columns(), partitions, hits, unlocated, deltas, repeats, overlaps, pieces }
  }
}
