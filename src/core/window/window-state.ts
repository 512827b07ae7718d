import { encodedBytes, GroupCounter, type ColumnarCounts } from '../counts/columnar'
import type {
  AppliedPartition,
  Delta,
  DeltaExceptions,
  Overlap,
  RangeExceptions,
  StagedDeltas,
} from './protocol'

export type Applied = 'applied' | 'repeat' | 'overlap'

/** Whether a delta is new to a window, given the last offset that was applied of its partition. */
export function classifyDelta(
  delta: Pick<Delta, 'first' | 'last'>,
  lastApplied: number | undefined,
): Applied {
  if (lastApplied === undefined || delta.first > lastApplied) return 'applied'
  return delta.last <= lastApplied ? 'repeat' : 'overlap'
}

/** Bytes of counts, as JSON, that a window holds and sends in one message; the server refuses payloads of 2 MB. */
export const MAX_PIECE_BYTES = 1_000_000
/** Bytes of late and rejected records, as JSON, that a window holds until they are recorded. */
export const MAX_EXCEPTION_BYTES = 250_000

/** A window as plain data: what continue-as-new carries over. */
export interface WindowSnapshot {
  /** Deltas that wait for Postgres to say whether the window is closed already. */
  waiting: Delta[]
  counts: ColumnarCounts
  partitions: AppliedPartition[]
  hits: number
  /** Absent in what a release before wrote. */
  unlocated?: number
  staged?: StagedDeltas
  exceptions?: number
  unrecorded?: RangeExceptions[]
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
 * a repeat or late. A delta that there is no room for has to wait until a piece was cut, or exceptions were recorded.
 */
export class WindowState {
  private counter = new GroupCounter()
  private waiting: Delta[] = []
  private waitingBytes = 0
  private opened = false
  private readonly partitions: Map<number, AppliedPartition>
  /** Exceptions that Postgres does not have yet, oldest first. */
  private unrecorded: RangeExceptions[] = []
  private unrecordedBytes = 0
  hits: number
  /** Hits among them whose look-up failed and was not waited for. */
  unlocated: number
  private readonly stagedOf: Map<number, number[]>
  private stagedHits: number
  /** Late and rejected records that travelled to this window, recorded or not. */
  exceptions: number
  deltas: number
  /** Deltas that came again, and were dropped. */
  repeats: number
  /** Deltas that overlap what was applied without being covered by it: no range of the protocol gives such. */
  readonly overlaps: Overlap[]
  /** How many pieces were cut; they, what is staged and what is held make the whole. */
  pieces: number

  constructor(
    carried?: WindowSnapshot,
    private readonly maxPieceBytes = MAX_PIECE_BYTES,
  ) {
    this.partitions = new Map(carried?.partitions.map(applied => [applied.partition, applied]))
    this.hits = carried?.hits ?? 0
    this.unlocated = carried?.unlocated ?? 0
    this.stagedOf = new Map(carried?.staged?.last)
    this.stagedHits = carried?.staged?.hits ?? 0
    this.exceptions = carried?.exceptions ?? 0
    this.deltas = carried?.deltas ?? 0
    this.repeats = carried?.repeats ?? 0
    this.overlaps = carried?.overlaps ?? []
    this.pieces = carried?.pieces ?? 0
    if (!carried) return
    this.counter.addAll(carried.counts)
    for (const delta of carried.waiting) this.hold(delta)
    for (const range of carried.unrecorded ?? []) this.keep(range)
  }

  /** Whether the counts of a delta go with what is held into one message. */
  hasRoomFor(delta: Delta): boolean {
    return this.heldBytes === 0 || this.heldBytes + encodedBytes(delta) <= this.maxPieceBytes
  }

  /** The same of its exceptions. */
  hasRoomForExceptionsOf({ exceptions }: Delta): boolean {
    if (!exceptions || this.unrecordedBytes === 0) return true
    return this.unrecordedBytes + exceptionBytes(exceptions) <= MAX_EXCEPTION_BYTES
  }

  /**
   * Takes a delta in once. Ranges of a partition reach the window in order, so the last offset applied tells a
   * repeat (of a retry, a restarted poller, a zombie) from what is new.
   */
  apply(delta: Delta): Applied {
    const known = this.partitions.get(delta.partition)
    const verdict = classifyDelta(delta, known?.last)
    if (verdict === 'repeat') this.repeats++
    if (verdict === 'overlap') {
      const { partition, first, last } = delta
      this.overlaps.push({ partition, first, last })
    }
    if (verdict !== 'applied') return verdict
    if (!this.opened) this.hold(delta)
    else this.count(delta)
    this.hits += delta.hits
    this.unlocated += delta.unlocated ?? 0
    this.deltas++
    const { partition, from, basis, last } = delta
    if (known) known.last = last
    else this.partitions.set(partition, { partition, from, basis, last })
    return verdict
  }

  private count(delta: Delta): void {
    const { partition, from, exceptions, hits } = delta
    if (exceptions) this.addExceptions(partition, from, exceptions)
    if (!delta.staged) return this.counter.addAll(delta)
    this.stagedHits += hits
    const offsets = this.stagedOf.get(partition)
    if (offsets) offsets.push(delta.last)
    else this.stagedOf.set(partition, [delta.last])
  }

  /** Deltas whose counts are in Postgres. */
  get staged(): StagedDeltas {
    return { hits: this.stagedHits, last: [...this.stagedOf] }
  }

  /** How many of them there are. */
  get stagedDeltas(): number {
    let deltas = 0
    for (const offsets of this.stagedOf.values()) deltas += offsets.length
    return deltas
  }

  private addExceptions(
    partition: number,
    from: number,
    { records, recorded, ...exceptions }: DeltaExceptions,
  ): void {
    this.exceptions += records
    if (!recorded) this.keep({ partition, from, ...exceptions })
  }

  private keep(range: RangeExceptions): void {
    this.unrecorded.push(range)
    this.unrecordedBytes += exceptionBytes(range)
  }

  /** Exceptions that have to be recorded; they stay until {@link recorded}. */
  get toRecord(): RangeExceptions[] {
    return [...this.unrecorded]
  }

  /** Postgres has the oldest so many of {@link toRecord}. */
  recorded(ranges: number): void {
    for (const range of this.unrecorded.splice(0, ranges)) this.unrecordedBytes -= exceptionBytes(range)
  }

  /** Postgres knows of no result: from here on what waited, and what comes, is counted together. */
  open(): void {
    this.opened = true
    for (const delta of this.takeWaiting()) this.count(delta)
  }

  /** The deltas that wait. */
  takeWaiting(): Delta[] {
    this.waitingBytes = 0
    return this.waiting.splice(0)
  }

  private hold(delta: Delta): void {
    this.waiting.push(delta)
    this.waitingBytes += encodedBytes(delta) + (delta.exceptions ? exceptionBytes(delta.exceptions) : 0)
  }

  private get heldBytes(): number {
    return this.waitingBytes + (this.counter.groups > 0 ? this.counter.encodedBytes : 0)
  }

  /** Takes what is held away as a piece, to be sent ahead to where the result is put together. */
  cutPiece(): Piece {
    this.pieces++
    const counts = this.opened ? [this.counter.columns()] : this.takeWaiting()
    if (this.opened) this.counter = new GroupCounter()
    return { number: this.pieces, counts }
  }

  /** Groups of what is held: fewer than the window's where pieces were cut, or deltas staged. */
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
    const { waiting, applied: partitions, hits, unlocated, staged, exceptions, unrecorded } = this
    const { deltas, repeats, overlaps, pieces } = this
    return {
      waiting,
      counts: this.columns(),
      partitions,
      hits,
      unlocated,
      staged,
      exceptions,
      unrecorded,
      deltas,
      repeats,
      overlaps,
      pieces,
    }
  }
}

/** Upper bound of a delta as JSON, in bytes. */
export function deltaBytes(delta: Delta): number {
  return encodedBytes(delta) + 256 + (delta.exceptions ? exceptionBytes(delta.exceptions) : 0)
}

/** Upper bound of exceptions as JSON, in bytes: samples are offsets and reasons. */
export function exceptionBytes({
  late,
  rejected,
  samples,
}: Omit<RangeExceptions, 'partition' | 'from'>): number {
  let bytes = 256 + Object.keys(rejected).length * 64 + samples.length * 64
  for (const counts of late) bytes += encodedBytes(counts) + 32
  return bytes
}
