import { encodedBytes, GroupCounter, type ColumnarCounts } from '../counts/columnar'
import { invariant } from '../invariant'
import type {
  AppliedPartition,
  Delta,
  DeltaExceptions,
  Overlap,
  RangeExceptions,
  StagedDeltas,
} from './protocol'

type Verdict = 'applied' | 'repeat' | 'overlap'

/**
 * Whether a delta is new to a window, given the last offset that the window applied of its partition. Ranges of a
 * partition reach the window in order, so this offset distinguishes new deltas from those of a retry, a restarted poller
 * or a zombie.
 */
export function classifyDelta(delta: Pick<Delta, 'first' | 'last'>, lastApplied = -Infinity): Verdict {
  if (delta.last <= lastApplied) return 'repeat'
  return delta.first > lastApplied ? 'applied' : 'overlap'
}

/** Bytes of counts, as JSON, that a window holds and sends in one message; the server refuses payloads above 2 MB. */
export const MAX_PIECE_BYTES = 1_000_000
/** Bytes of late and rejected records, as JSON, that a window holds until they are recorded. */
export const MAX_EXCEPTION_BYTES = 250_000

/** A window as plain data, which continue-as-new carries over. */
export interface WindowSnapshot {
  /** Deltas that wait until Postgres answers whether the window is closed. */
  waiting: Delta[]
  counts: ColumnarCounts
  partitions: AppliedPartition[]
  hits: number
  /** Older releases carry none of these. */
  unlocated?: number
  staged?: StagedDeltas
  exceptions?: number
  unrecorded?: RangeExceptions[]
  deltas: number
  repeats: number
  overlaps: Overlap[]
  pieces: number
}

/** Part of a window's counts, numbered from 1; until the window is opened it consists of separate deltas. */
export interface Piece {
  number: number
  counts: ColumnarCounts[]
}

/**
 * What a window has accumulated, in bounded memory: counts, and the last offset applied of each partition.
 *
 * Deltas are kept separately until {@link open}, because in a window that an earlier run closed each of them is a repeat
 * or late. A delta without room has to wait until a piece is cut or exceptions are recorded.
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
  private readonly stagedOffsets: Map<number, number[]>
  private stagedHits: number
  hits: number
  /** Those of the hits whose country lookup failed. */
  unlocated: number
  /** Late and rejected records that this window carries, recorded or not. */
  exceptions: number
  deltas: number
  /** Deltas that were dropped as repeats. */
  repeats: number
  /** Deltas that contradict what was applied; the protocol never causes any. */
  readonly overlaps: Overlap[]
  /** How many pieces were cut. */
  pieces: number

  constructor(
    carried: Partial<WindowSnapshot> = {},
    private readonly maxPieceBytes = MAX_PIECE_BYTES,
  ) {
    this.partitions = new Map(carried.partitions?.map(applied => [applied.partition, applied]))
    this.hits = carried.hits ?? 0
    this.unlocated = carried.unlocated ?? 0
    this.stagedOffsets = new Map(carried.staged?.last)
    this.stagedHits = carried.staged?.hits ?? 0
    this.exceptions = carried.exceptions ?? 0
    this.deltas = carried.deltas ?? 0
    this.repeats = carried.repeats ?? 0
    this.overlaps = carried.overlaps ?? []
    this.pieces = carried.pieces ?? 0
    if (carried.counts) this.counter.addAll(carried.counts)
    for (const delta of carried.waiting ?? []) this.hold(delta)
    for (const range of carried.unrecorded ?? []) this.keep(range)
  }

  /** Whether the counts of a delta fit into one message with those held. */
  hasRoomFor(delta: Delta): boolean {
    return this.heldBytes === 0 || this.heldBytes + encodedBytes(delta) <= this.maxPieceBytes
  }

  hasRoomForExceptionsOf({ exceptions }: Delta): boolean {
    if (!exceptions || this.unrecordedBytes === 0) return true
    return this.unrecordedBytes + exceptionBytes(exceptions) <= MAX_EXCEPTION_BYTES
  }

  /** Takes a delta in, at most once. */
  apply(delta: Delta): Verdict {
    const { partition, from, basis, first, last } = delta
    const known = this.partitions.get(partition)
    const verdict = classifyDelta(delta, known?.last)
    if (verdict === 'repeat') this.repeats++
    if (verdict === 'overlap') this.overlaps.push({ partition, first, last })
    if (verdict !== 'applied') return verdict
    if (this.opened) this.count(delta)
    else this.hold(delta)
    this.hits += delta.hits
    this.unlocated += delta.unlocated ?? 0
    this.deltas++
    invariant(!known || last > known.last, 'the last applied offset of a partition only advances')
    if (known) known.last = last
    else this.partitions.set(partition, { partition, from, basis, last })
    return verdict
  }

  private count(delta: Delta): void {
    const { exceptions, hits } = delta
    if (exceptions) this.addExceptions(delta, exceptions)
    if (!delta.staged) return this.counter.addAll(delta)
    this.stagedHits += hits
    const { partition, last } = delta
    const offsets = this.stagedOffsets.get(partition)
    if (offsets) offsets.push(last)
    else this.stagedOffsets.set(partition, [last])
  }

  /** Deltas whose counts are in Postgres. */
  get staged(): StagedDeltas {
    return { hits: this.stagedHits, last: [...this.stagedOffsets] }
  }

  get stagedDeltas(): number {
    return [...this.stagedOffsets.values()].reduce((sum, { length }) => sum + length, 0)
  }

  private addExceptions(
    { partition, from, last }: Delta,
    { records, recorded, ...exceptions }: DeltaExceptions,
  ): void {
    this.exceptions += records
    if (!recorded) this.keep({ partition, from, to: last + 1, ...exceptions })
  }

  private keep(range: RangeExceptions): void {
    this.unrecorded.push(range)
    this.unrecordedBytes += exceptionBytes(range)
  }

  /** Exceptions to record; they stay until {@link recorded}. */
  get toRecord(): RangeExceptions[] {
    return [...this.unrecorded]
  }

  /** Postgres has recorded the oldest ranges of {@link toRecord}. */
  recorded(ranges: number): void {
    invariant(ranges <= this.unrecorded.length, 'only exceptions that wait are recorded')
    for (const range of this.unrecorded.splice(0, ranges)) this.unrecordedBytes -= exceptionBytes(range)
  }

  /** Postgres has no result of the window, so deltas can be counted together from now on. */
  open(): void {
    this.opened = true
    for (const delta of this.takeWaiting()) this.count(delta)
  }

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

  /** Removes the counts held, to be staged in Postgres until the result is written. */
  cutPiece(): Piece {
    this.pieces++
    const counts = this.opened ? [this.counter.columns()] : this.takeWaiting()
    if (this.opened) this.counter = new GroupCounter()
    return { number: this.pieces, counts }
  }

  /** Groups held, without those of pieces and staged deltas. */
  get groups(): number {
    return this.counter.groups
  }

  get applied(): AppliedPartition[] {
    return [...this.partitions.values()].sort((a, b) => a.partition - b.partition)
  }

  /** The counts held, without those of pieces, and of staged and waiting deltas. */
  columns(): ColumnarCounts {
    return this.counter.columns()
  }

  snapshot(): WindowSnapshot {
    const { waiting, applied: partitions, hits, unlocated, staged, exceptions, unrecorded } = this
    const { deltas, repeats, overlaps, pieces } = this
    return {
      ...{ waiting, counts: this.columns(), partitions, hits, unlocated, staged, exceptions, unrecorded },
      ...{ deltas, repeats, overlaps, pieces },
    }
  }
}

/** Upper bound of a delta as JSON in bytes. */
export function deltaBytes(delta: Delta): number {
  return encodedBytes(delta) + 256 + (delta.exceptions ? exceptionBytes(delta.exceptions) : 0)
}

/** Upper bound of exceptions as JSON in bytes. */
export function exceptionBytes({
  late,
  rejected,
  samples,
}: Omit<RangeExceptions, 'partition' | 'from'>): number {
  let bytes = 256 + Object.keys(rejected).length * 64 + samples.length * 64
  for (const counts of late) bytes += encodedBytes(counts) + 32
  return bytes
}
