import { Books, type BooksState, type ClosingWindow } from './books'
import { Checkpoints, type Checkpoint } from './checkpoints'
import { PartitionLedger, type PartitionsState } from './partition-ledger'
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
import type { MaxEventTime } from './watermark'

/** The ledger as plain data, which continue-as-new carries over. */
export interface LedgerState extends PartitionsState {
  /** Starts of the windows that were announced and not closed yet, epoch ms. */
  openWindows: number[]
  /** Starts of the open windows that were sent the signal to publish a first result. */
  published: number[]
  /** How many windows were sent the close signal. */
  closed: number
  /** Older releases carry none. */
  books?: BooksState
  checkpoints?: Checkpoint[]
  checkpointOf?: [start: number, id: number][]
}

/** Everything needed to count a window again from the log. */
export interface WindowSource {
  /** Everything announced for it; undefined if the ledger does not know that. */
  told: Sums | undefined
  /** Books that the window was sent and has not settled. */
  books: ToldBook[]
  /** Whether more may be announced for it. */
  open: boolean
  /** Where its records are: from before the first one, with the watermark's basis there, to the last announced one. */
  partitions: { partition: number; from: number; basis: MaxEventTime; to: number }[]
}

export interface LedgerRules {
  windowSize: number
  watermarkDelay: number
  allowedLateness: number
}

/** Totals of everything done. */
export function totalsOf({ partitions }: Pick<LedgerState, 'partitions'>): RangeTotals {
  return sumOf(Object.values(partitions))
}

/** Starts of windows to publish or close now, oldest first, epoch ms. */
interface DueWindows {
  publish: number[]
  close: number[]
}

/**
 * Decides what is done and which windows are open. Kafka's group only distributes the partitions; pollers only report
 * what they did, under an epoch that must still be theirs.
 *
 * Every operation is idempotent: an update whose answer was lost is sent again, and after continue-as-new a run does not
 * know the ids of earlier updates.
 */
export class Ledger {
  readonly books: Books
  private readonly partitionLedger: PartitionLedger
  private readonly open: Set<number>
  private readonly published: Set<number>
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
    /** Where unknown partitions begin; those without an entry begin at the earliest record. */
    startPositions: Record<number, number> = {},
  ) {
    this.partitionLedger = new PartitionLedger(state, rules.watermarkDelay, startPositions)
    this.open = new Set(state.openWindows)
    this.published = new Set(state.published)
    this.books = new Books(state.books ?? {})
    this.checkpoints = new Checkpoints(state)
  }

  /** Gives partitions to a poller, which ends every earlier claim to them. */
  claim(request: ClaimRequest): ClaimAnswer {
    this.partitionLedger.raiseCount(request.partitionCount)
    return this.partitionLedger.claim(request)
  }

  /** Accepts the present log as the one that was read: positions stay, fingerprints are forgotten. */
  acceptLog(request: AcceptLogRequest): AcceptedLog[] {
    return this.partitionLedger.acceptLog(request)
  }

  /**
   * Applies a poller's report, partition by partition: all of a partition's part, or none of it.
   *
   * @param now epoch ms; no idle claim counts for a later time
   */
  flush({ partitionCount, partitions }: FlushRequest, now: number): FlushAnswer {
    this.partitionLedger.raiseCount(partitionCount)
    const refused = partitions.filter(flush => !this.accepts(flush, now)).map(({ partition }) => partition)
    return { refused, pollers: this.partitionLedger.pollers }
  }

  private accepts(flush: PartitionFlush, now: number): boolean {
    const verdict = this.partitionLedger.apply(flush, now)
    if (verdict === 'refused') return false
    if (!flush.announce) return true
    if (verdict === 'range announced') this.addToBooks(flush.announce)
    for (const start of flush.announce.windows) this.open.add(start)
    return true
  }

  private addToBooks({ windows, hits, exceptions }: Announcement): void {
    const isNew = (start: number) => !this.open.has(start)
    this.checkpoints.open(
      windows.filter(start => isNew(start) && !this.books.has(start)),
      () => this.partitionLedger.places,
    )
    for (const [i, start] of windows.entries()) {
      if (!hits || !exceptions) this.books.forgetSums(start)
      else this.books.announce(start, { hits: hits[i]!, exceptions: exceptions[i]! }, isNew(start))
    }
  }

  /** Time (epoch ms) before which no partition can have an event that is not late. */
  get frontier(): number {
    return this.partitionLedger.frontier
  }

  private publishableFrom(start: number): number {
    return start + this.rules.windowSize
  }

  private closableFrom(start: number): number {
    return this.publishableFrom(start) + this.rules.allowedLateness
  }

  /**
   * Removes the windows to close from the open ones, completes their books, and marks those to publish.
   *
   * @param now epoch ms
   * @param max how many of each kind; the oldest come first
   */
  takeDue(now: number, max = Infinity): DueWindows {
    const { frontier, openWindows } = this
    const close = openWindows.filter(start => this.closableFrom(start) <= frontier).slice(0, max)
    for (const start of close) {
      this.open.delete(start)
      this.published.delete(start)
      this.books.close(start, now)
    }
    this.state.closed += close.length
    // A window that can close is not published first, even if it has to wait for its turn.
    const publish = openWindows
      .filter(start => this.closableFrom(start) > frontier && this.mayPublish(start, frontier))
      .slice(0, max)
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
    return !this.published.has(start) && this.publishableFrom(start) <= frontier
  }

  /**
   * Which of the partitions delay a window that the clock would allow to publish or close; they should claim to be idle
   * if they are.
   *
   * @param now the ledger's time when the poller asked for the partitions' ends, epoch ms
   */
  awaited(partitions: number[], now: number): number[] {
    let last = -Infinity
    for (const start of this.open)
      for (const due of [this.publishableFrom(start), this.closableFrom(start)])
        if (due + this.rules.watermarkDelay <= now) last = Math.max(last, due)
    return partitions.filter(partition => this.partitionLedger.frontierOf(partition) < last)
  }

  /** Takes a closing window's answer. */
  settled(settlement: Settlement): void {
    this.books.settle(settlement)
    const { start } = settlement
    if (!this.open.has(start) && !this.books.has(start)) this.checkpoints.drop(start)
  }

  /** Undefined for a window that is settled or was never announced. */
  sourceOf(start: number): WindowSource | undefined {
    const places = this.checkpoints.of(start)
    if (!places) return undefined
    const partitions = Object.entries(this.partitions).map(
      ([p, { start: first = 0, position, announcedTo }]) => {
        const partition = Number(p)
        const [from, basis] = places[partition] ?? [first, null]
        return { partition, from, basis, to: announcedTo ?? position }
      },
    )
    const { books } = this
    return { told: books.sumsOf(start), books: books.booksOf(start), open: this.open.has(start), partitions }
  }

  /** Windows that were sent the close signal and have not answered with a balanced book. */
  get closing(): ClosingWindow[] {
    return this.books.windows
  }

  get windowCounts(): { open: number; closing: number; closed: number } {
    const closing = this.books.size
    return { open: this.open.size, closing, closed: this.state.closed - closing }
  }

  get totals(): RangeTotals {
    return totalsOf(this.state)
  }

  /** The oldest open window, the time (epoch ms) that every partition must reach for it, and those that have not. */
  get oldestWaiting(): { start: number; until: number; holders: number[] } | undefined {
    const start = this.openWindows[0]
    if (start === undefined) return undefined
    const until = this.published.has(start) ? this.closableFrom(start) : this.publishableFrom(start)
    return { start, until, holders: this.partitionLedger.behind(until) }
  }

  get partitions(): Readonly<LedgerState['partitions']> {
    return this.partitionLedger.entries
  }

  /** Oldest first. */
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
