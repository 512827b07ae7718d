import type { MaxEventTime } from './watermark'

/** A position in each partition, with the watermark's basis there, before which a window has no record. */
export interface Checkpoint {
  id: number
  places: Record<number, [position: number, basis: MaxEventTime]>
}

/** Positions kept over all checkpoints, at about 40 bytes each of the ledger's message. */
const MAX_PLACES = 8_192

/**
 * Where to start reading to count a window again, for windows that are not settled. A window can also use an older
 * checkpoint, at the price of more reading; so their number is bounded, and beyond it no new ones are kept.
 */
export class Checkpoints {
  /** By start of the window. */
  private readonly ids: Map<number, number>
  private kept: Checkpoint[]
  private nextId: number

  constructor(
    carried: {
      checkpoints?: Checkpoint[] | undefined
      checkpointOf?: [start: number, id: number][] | undefined
    },
    private readonly maxPlaces = MAX_PLACES,
  ) {
    this.kept = [...(carried.checkpoints ?? [])]
    this.ids = new Map(carried.checkpointOf)
    this.nextId = (this.kept.at(-1)?.id ?? 0) + 1
  }

  /** Records a checkpoint for windows that have none yet. */
  open(starts: number[], places: () => Checkpoint['places']): void {
    const added = starts.filter(start => !this.ids.has(start))
    if (added.length === 0) return
    this.keep(places())
    for (const start of added) this.ids.set(start, this.kept.at(-1)!.id)
  }

  private keep(places: Checkpoint['places']): void {
    const last = this.kept.at(-1)
    if (last && JSON.stringify(last.places) === JSON.stringify(places)) return
    const partitions = Math.max(1, Object.keys(places).length)
    if (last && (this.kept.length + 1) * partitions > this.maxPlaces) return
    this.kept.push({ id: this.nextId++, places })
  }

  /** Undefined for a window that is settled or was opened under an older release. */
  of(start: number): Checkpoint['places'] | undefined {
    const id = this.ids.get(start)
    return this.kept.find(checkpoint => checkpoint.id === id)?.places
  }

  /** Removes a window, and the checkpoints that no other window needs. */
  drop(start: number): void {
    if (!this.ids.delete(start)) return
    const needed = new Set(this.ids.values())
    this.kept = this.kept.filter(({ id }) => needed.has(id))
  }

  snapshot(): { checkpoints: Checkpoint[]; checkpointOf: [number, number][] } {
    return { checkpoints: this.kept, checkpointOf: [...this.ids] }
  }
}
