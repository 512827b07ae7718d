import type { MaxEventTime } from './watermark'

/** Places in the log, all partitions together, before which a window has no record; by partition. */
export interface Checkpoint {
  id: number
  places: Record<number, [position: number, basis: MaxEventTime]>
}

/** Places that are kept, over all checkpoints: what they may take of the ledger's message, at about 40 bytes each. */
const MAX_PLACES = 8_192

/**
 * Where the log has to be read from to count a window again, for windows that are not settled yet. An older checkpoint
 * than a window's own serves as well, with more to read: so their number is bounded, and the newest are given up first.
 */
export class Checkpoints {
  /** Of each window, by its start. */
  private readonly ids: Map<number, number>
  private readonly kept: Checkpoint[]
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

  /** Opens windows that are new: they have no record before these places. */
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

  /** Undefined for a window that was opened under an older release, or is settled. */
  of(start: number): Checkpoint['places'] | undefined {
    const id = this.ids.get(start)
    return this.kept.find(checkpoint => checkpoint.id === id)?.places
  }

  /** Forgets a window, and the checkpoints that no window needs any more. */
  drop(start: number): void {
    if (!this.ids.delete(start)) return
    const needed = new Set(this.ids.values())
    const unneeded = this.kept.filter(({ id }) => !needed.has(id))
    for (const checkpoint of unneeded) this.kept.splice(this.kept.indexOf(checkpoint), 1)
  }

  snapshot(): { checkpoints: Checkpoint[]; checkpointOf: [number, number][] } {
    return { checkpoints: this.kept, checkpointOf: [...this.ids] }
  }
}
