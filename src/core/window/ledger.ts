import { Books, type BooksState, type ClosingWindow } from './books'
import { Checkpoints, type Checkpoint } from './checkpoints'
import type { LogFingerprint } from './log-fingerprint'
import type {
  AcceptedLog,
  AcceptLogRequest,
  Announcement,
  ClaimAnswer,
  ClaimRequest,
  FlushAnswer,
  FlushRequest,
  PartitionFlush,
  RangeTotals,
  Settlement,
  Sums,
  ToldBook,
} from './protocol'
import { sumOf } from './totals'
import { watermark, type MaxEventTime } from './watermark'

interface PartitionEntry {
  /** Rises with every claim; whoever speaks with an older one is refused. */
  epoch: number
  /** Everything before this offset is done. */
  position: number
  basis: MaxEventTime
  /** The range `[position, to)` that was announced and is not yet done. */
  announcedTo: number | null
  /** The partition's end was its position at `at` (epoch ms). Dies when the position moves on. */
  idleAt: number | null
  poller: number
  /** Its position at the first claim; absent in what an older release carries. */
  start?: number
  totals: RangeTotals
  /** The partition's end in Kafka, as its poller last said. */
  end?: number
  /** Of the last done record; absent where its poller did not say. */
  fingerprint?: LogFingerprint
  /** The log that is there now was accepted, and nothing of it is done yet. */
  accepted?: true
}

/** The whole ledger as plain data: what continue-as-new carries over. */
export interface LedgerState {
  partitionCount: number
  partitions: Record<number, PartitionEntry>
  /** Starts of the windows that were announced and not yet told to close, epoch ms. */
  openWindows: number[]
  /** Those of them that were told to publish a first result, and wait for corrections. */
  published: number[]
  /** How many windows were told to close; those of them that have not answered yet are in `books`. */
  closed: number
  /** Absent in what an older release carries. */
  books?: BooksState
  checkpoints?: Checkpoint[]
  checkpointOf?: [start: number, id: number][]
}

/** What it takes to count a window again from the log. */
export interface WindowSource {
  /** Everything that was announced for it; undefined where the ledger does not know that. */
  told: Sums | undefined
  /** Those that were told and not settled. */
  books: ToldBook[]
  /** Whether it still waits for more to be announced. */
  open: boolean
  /** Where its records lie: from before its first one on, with the watermark's basis there, up to what was announced. */
  partitions: { partition: number; from: number; basis: MaxEventTime; to: number }[]
}

export interface LedgerRules {
  windowSize: number
  watermarkDelay: number
  allowedLateness: number
}

/** What is done, all partitions together. */
export function totalsOf({ partitions }: Pick<LedgerState, 'partitions'>): RangeTotals {
  return sumOf(Object.values(partitions))
}

/** Windows whose time has come, oldest first; starts, epoch ms. */
export interface DueWindows {
  publish: number[]
  close: number[]
}

/**
 * What is done, partition by partition, and which windows are open. The one place that decides: Kafka's group
 * only distributes partitions, and pollers only say what they did under an epoch that is still theirs.
 *
 * Every operation may be repeated with the same request and changes nothing the second time, because an update
 * whose answer was lost is sent again, and a run that continued as new does not know the ids of earlier updates.
 */
export class Ledger {
  private readonly open: Set<number>
  private readonly published: Set<number>
  private readonly books: Books
  private readonly checkpoints: Checkpoints

  constructor(
    private readonly rules: LedgerRules,
    private readonly state: LedgerState = {
      partitionCount: 0,
      partitions: {},
      openWindows: [],
      published: [],
      closed: 0,
    },
    /** Where a partition begins that the ledger does not know; the earliest record where it is not named here. */
    private readonly startPositions: Record<number, number> = {},
  ) {
    this.open = new Set(state.openWindows)
    this.published = new Set(state.published)
    this.books = new Books(state.books ?? {})
    this.checkpoints = new Checkpoints(state)
  }

  /**
   * Gives partitions to a poller. The epoch rises even for the poller that has them already: its earlier
   * attempt may still be on its way.
   */
  claim(request: ClaimRequest): ClaimAnswer {
    this.heard(request.partitionCount)
    const partitions = request.partitions.map(({ partition, earliest }) => {
      const start = this.startPositions[partition] ?? earliest
      const entry = (this.state.partitions[partition] ??= {
        epoch: 0,
        position: start,
        start,
        basis: null,
        announcedTo: null,
        idleAt: null,
        poller: request.poller,
        totals: { records: 0, hits: 0, late: 0, rejected: 0 },
      })
      entry.epoch++
      entry.poller = request.poller
      const { epoch, position, basis, announcedTo, fingerprint, accepted } = entry
      return {
        partition,
        epoch,
        position,
        basis,
        announcedTo,
        ...(fingerprint && { fingerprint }),
        ...(accepted && { accepted }),
      }
    })
    return { partitions }
  }

  /**
   * Takes the log that is there now for the one that was read: the position stays, and what was known of the last done
   * record is forgotten. The epoch rises, so that no flush that is still on its way brings that back.
   */
  acceptLog({ partition: only }: AcceptLogRequest): AcceptedLog[] {
    return Object.entries(this.state.partitions)
      .map(([partition, entry]) => ({ partition: Number(partition), entry }))
      .filter(({ partition }) => only === undefined || partition === only)
      .map(({ partition, entry }) => {
        if (!entry.accepted) entry.epoch++
        entry.accepted = true
        delete entry.fingerprint
        return { partition, position: entry.position, announcedTo: entry.announcedTo }
      })
  }

  /** Takes in what a poller says, partition by partition: all of a partition's part, or none of it. */
  flush(request: FlushRequest): FlushAnswer {
    this.heard(request.partitionCount)
    const refused = request.partitions
      .filter(flush => !this.acceptFlush(flush))
      .map(({ partition }) => partition)
    const pollers = new Set(Object.values(this.state.partitions).map(({ poller }) => poller)).size
    return { refused, pollers }
  }

  private acceptFlush({ partition, epoch, done, announce, idle, end }: PartitionFlush): boolean {
    const entry = this.state.partitions[partition]
    if (entry?.epoch !== epoch) return false
    const position = done ? done.to : entry.position
    const repeatedDone = done?.to === entry.position
    if (done && !repeatedDone && done.to !== entry.announcedTo) return false
    const announcedTo = done && !repeatedDone ? null : entry.announcedTo
    // A range that was announced before may be announced again as it was, and in no other shape: deltas of it
    // may have been sent, and only the same cut is recognised as their repeat.
    if (announce && (announce.from !== position || (announcedTo !== null && announcedTo !== announce.to)))
      return false
    if (done && !repeatedDone) this.settle(entry, done)
    if (announce) {
      // One that is announced again is in the books.
      if (entry.announcedTo === null) this.enter(announce)
      entry.announcedTo = announce.to
      entry.idleAt = null
      for (const start of announce.windows) this.open.add(start)
    }
    if (idle && entry.announcedTo === null && idle.position === entry.position)
      entry.idleAt = Math.max(entry.idleAt ?? 0, idle.at)
    if (end !== undefined) entry.end = end
    return true
  }

  /** Takes the sums of a range into the books of its windows. */
  private enter({ windows, hits, exceptions }: Announcement): void {
    const isNew = (start: number) => !this.open.has(start)
    this.checkpoints.open(
      windows.filter(start => isNew(start) && !this.books.has(start)),
      () => this.places,
    )
    for (const [i, start] of windows.entries()) {
      if (!hits || !exceptions) this.books.lose(start)
      else this.books.add(start, { hits: hits[i]!, exceptions: exceptions[i]! }, isNew(start))
    }
  }

  /** How far every partition is done, and the watermark's basis there. */
  private get places(): Checkpoint['places'] {
    const entries = Object.entries(this.state.partitions)
    return Object.fromEntries(entries.map(([p, { position, basis }]) => [p, [position, basis]]))
  }

  private settle(entry: PartitionEntry, done: NonNullable<PartitionFlush['done']>): void {
    entry.position = done.to
    entry.basis = done.basis
    entry.announcedTo = null
    entry.idleAt = null
    // A record that is not the last one done any more would have everything after it read again.
    if (done.fingerprint) entry.fingerprint = done.fingerprint
    else delete entry.fingerprint
    delete entry.accepted
    for (const key of ['records', 'hits', 'late', 'rejected'] as const) entry.totals[key] += done.totals[key]
  }

  private heard(partitionCount: number): void {
    this.state.partitionCount = Math.max(this.state.partitionCount, partitionCount)
  }

  /**
   * Up to where (epoch ms) a partition lets windows close: its watermark, or what its idle claim stands for. A
   * partition never heard of holds every window open.
   */
  private frontierOf(partition: number): number {
    const entry = this.state.partitions[partition]
    if (!entry) return -Infinity
    const idle = entry.idleAt ?? -Infinity
    return Math.max(watermark(entry.basis, this.rules.watermarkDelay), idle - this.rules.watermarkDelay)
  }

  /** No event before this time (epoch ms) is still awaited from any partition. */
  get frontier(): number {
    if (this.state.partitionCount === 0) return -Infinity
    let frontier = Infinity
    for (let p = 0; p < this.state.partitionCount; p++) frontier = Math.min(frontier, this.frontierOf(p))
    return frontier
  }

  private publishableFrom(start: number): number {
    return start + this.rules.windowSize
  }

  private closableFrom(start: number): number {
    return this.publishableFrom(start) + this.rules.allowedLateness
  }

  /**
   * Takes the windows that may close out of the open ones, and those that may publish, each once. What closes is in the
   * books from here on, until the window has answered.
   *
   * @param now epoch ms
   * @param atMost of each kind; the oldest come first
   */
  takeDue(now: number, atMost = Infinity): DueWindows {
    const { frontier } = this
    const open = [...this.open].sort((a, b) => a - b)
    const close = open.filter(start => this.closableFrom(start) <= frontier).slice(0, atMost)
    for (const start of close) {
      this.open.delete(start)
      this.published.delete(start)
      this.books.close(start, now)
    }
    this.state.closed += close.length
    // One whose turn to close comes next is not published before.
    const publish = open
      .filter(start => this.closableFrom(start) > frontier && this.mayPublish(start, frontier))
      .slice(0, atMost)
    for (const start of publish) this.published.add(start)
    return { publish, close }
  }

  hasDue(): boolean {
    const { frontier } = this
    for (const start of this.open)
      if (this.closableFrom(start) <= frontier || this.mayPublish(start, frontier)) return true
    return false
  }

  private mayPublish(start: number, frontier: number): boolean {
    return this.open.has(start) && !this.published.has(start) && this.publishableFrom(start) <= frontier
  }

  /**
   * Which of the partitions hold back a window that time alone would let publish or close: those that should claim
   * to be idle if they are.
   *
   * @param now when the end of the partitions was asked for, epoch ms
   */
  awaited(partitions: number[], now: number): number[] {
    let last = -Infinity
    for (const start of this.open)
      for (const due of [this.publishableFrom(start), this.closableFrom(start)])
        if (due + this.rules.watermarkDelay <= now) last = Math.max(last, due)
    return partitions.filter(partition => this.frontierOf(partition) < last)
  }

  /** Windows that are closing and have to be told so, now or again, oldest first. */
  toTell(now: number, atMost = Infinity): ClosingWindow[] {
    return this.books.due(now, atMost)
  }

  /** What a window is told when it closes: all of its books that are not settled, since Postgres may have none of them. */
  booksOf(start: number): ToldBook[] {
    return this.books.booksOf(start)
  }

  /** When the next closing window has to be told, epoch ms. */
  get nextTelling(): number {
    return this.books.nextDue
  }

  told(window: ClosingWindow, now: number): void {
    this.books.told(window, now)
  }

  /** A closing window has answered. */
  settled(settlement: Settlement): void {
    this.books.settle(settlement)
    const { start } = settlement
    if (!this.open.has(start) && !this.books.has(start)) this.checkpoints.drop(start)
  }

  /** Everything that was announced for a window and is not settled; undefined where the ledger does not know it. */
  announcedFor(start: number): Sums | undefined {
    return this.books.of(start)
  }

  /** What is known of a window that is not settled; undefined where it is, or never was. */
  sourceOf(start: number): WindowSource | undefined {
    const places = this.checkpoints.of(start)
    if (!places) return undefined
    const partitions = Object.entries(this.state.partitions).map(
      ([p, { start: first = 0, position, announcedTo }]) => {
        const partition = Number(p)
        const [from, basis] = places[partition] ?? [first, null]
        return { partition, from, basis, to: announcedTo ?? position }
      },
    )
    const { books } = this
    return { told: books.of(start), books: books.booksOf(start), open: this.open.has(start), partitions }
  }

  /** Windows that were told to close and have not answered with a balance that is right. */
  get closing(): ClosingWindow[] {
    return this.books.windows
  }

  /** How many windows are open, how many were told to close and have not answered, and how many are closed. */
  get windowCounts(): { open: number; closing: number; closed: number } {
    const closing = this.books.size
    return { open: this.open.size, closing, closed: this.state.closed - closing }
  }

  get totals(): RangeTotals {
    return totalsOf(this.state)
  }

  /**
   * The oldest open window, what every partition has to reach (epoch ms) for its next step, and the partitions that
   * have not: they hold it back.
   */
  get oldestWaiting(): { start: number; until: number; holders: number[] } | undefined {
    const start = this.openWindows[0]
    if (start === undefined) return undefined
    const until = this.published.has(start) ? this.closableFrom(start) : this.publishableFrom(start)
    const holders: number[] = []
    for (let p = 0; p < this.state.partitionCount; p++) if (this.frontierOf(p) < until) holders.push(p)
    return { start, until, holders }
  }

  get partitions(): Readonly<LedgerState['partitions']> {
    return this.state.partitions
  }

  get openWindows(): number[] {
    return [...this.open].sort((a, b) => a - b)
  }

  snapshot(): LedgerState {
    return {
      ...this.state,
      openWindows: this.openWindows,
      published: [...this.published],
      books: this.books.snapshot(),
      ...this.checkpoints.snapshot(),
    }
  }
}
