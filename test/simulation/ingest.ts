import type { ClosingWindow } from '../../src/core/window/books'
import { Ledger, type LedgerRules, type LedgerState, type WindowSource } from '../../src/core/window/ledger'
import type {
  Balance,
  Claimed,
  Delta,
  FlushAnswer,
  FlushRequest,
  Settlement,
  Sums,
  ToldBook,
} from '../../src/core/window/protocol'
import { isBehind } from '../../src/core/window/watermark'
import type { Kafka } from './kafka'
import { Ownership } from './ownership'
import { DELAY, newestEventTime, WINDOW } from './traffic'
import type { World } from './world'

/** The ledger's answer to a claim, and the claim's number. */
export interface TakenClaim {
  claim: number
  partitions: Claimed[]
  now: number
}

/** The ledger's workflow: takes claims and flushes, continues as new, and signals windows to publish and close. */
export class Ingest {
  readonly ownership = new Ownership()
  private ledger: Ledger
  /** Whether a flush came since it last checked for due windows. */
  private flushed = false
  /** By closed window: the offset of each partition up to which ranges had been announced. */
  private readonly announcedAtClosing = new Map<number, number[]>()
  private readonly announcedSums = new Map<number, Sums>()
  private readonly announcedRanges = new Set<string>()
  /** Partitions whose last idle claim is that of a poller of an older release. */
  private readonly idleByOldPoller = new Set<number>()

  constructor(
    private readonly world: World,
    private readonly kafka: Kafka,
  ) {
    this.ledger = new Ledger(this.rules)
  }

  private get rules(): LedgerRules {
    const { allowedLateness } = this.world
    return { windowSize: WINDOW, watermarkDelay: DELAY, allowedLateness }
  }

  claim(poller: number, assigned: number[]): TakenClaim {
    const { mutant } = this.world
    if (mutant === 'no announced range') this.forgetAnnounced(assigned)
    const { partitions } = this.ledger.claim({
      poller,
      partitionCount: this.kafka.partitions,
      partitions: assigned.map(partition => ({ partition, earliest: 0 })),
    })
    for (const claimed of partitions) {
      if (mutant === "the watermark's basis lost at a claim") claimed.basis = null
      if (mutant === 'a range is sent again that has changed') delete claimed.announced
      if (claimed.announcedTo !== null) this.world.met('a range was read again')
    }
    return { claim: this.ownership.claimed(assigned), partitions, now: this.world.clock }
  }

  private forgetAnnounced(assigned: number[]): void {
    for (const partition of assigned) {
      const entry = this.ledger.partitions[partition]
      if (entry) entry.announcedTo = null
    }
  }

  /** The ledger must refuse a claim that has lost its partition. */
  flush(claim: number, request: FlushRequest, isOld: boolean): FlushAnswer & { now: number } {
    const { clock: now, mutant } = this.world
    this.flushed = true
    const latest = mutant === 'an idle claim ahead of the ledger' ? Infinity : now
    const answer = this.ledger.flush(this.mutated(request), latest)
    this.note(request, answer)
    this.noteIdle(request, isOld)
    for (const { partition } of request.partitions) {
      if (this.ownership.holds(claim, partition)) continue
      this.world.met('a zombie was refused')
      if (!answer.refused.includes(partition))
        throw new Error(
          `the ledger accepted a flush of claim ${claim}, which has lost partition ${partition}`,
        )
    }
    return { ...answer, now }
  }

  private noteIdle({ partitions }: FlushRequest, isOld: boolean): void {
    for (const { partition, idle } of partitions) {
      if (!idle) continue
      if (idle.at > this.world.clock) this.world.met('an idle claim was ahead of the ledger')
      if (isOld) this.idleByOldPoller.add(partition)
    }
  }

  private note({ partitions }: FlushRequest, { refused }: FlushAnswer): void {
    for (const { partition, announce } of partitions) {
      if (!announce || refused.includes(partition)) continue
      this.idleByOldPoller.delete(partition)
      const range = `${partition}:${announce.from}`
      if (this.announcedRanges.has(range)) continue
      this.announcedRanges.add(range)
      for (const [i, start] of announce.windows.entries()) {
        const { hits, exceptions } = this.announcedFor(start)
        const sums = { hits: hits + announce.hits![i]!, exceptions: exceptions + announce.exceptions![i]! }
        this.announcedSums.set(start, sums)
      }
    }
  }

  /** The request as a ledger without one of its checks would see it. */
  private mutated(request: FlushRequest): FlushRequest {
    const { mutant } = this.world
    const partitions = request.partitions.map(flush => {
      const entry = this.ledger.partitions[flush.partition]!
      if (mutant === 'no epoch check') return { ...flush, epoch: entry.epoch }
      const { done } = flush
      if (mutant === 'no range check' && done && flush.epoch === entry.epoch && done.to !== entry.position) {
        entry.announcedTo = done.to
        if (isBehind(done.basis, entry.basis)) return { ...flush, done: { ...done, basis: entry.basis } }
      }
      return flush
    })
    return { ...request, partitions }
  }

  awaited(partitions: number[], now: number): number[] {
    return this.ledger.awaited(partitions, now)
  }

  /** The windows to publish now, and those to close, with their books. */
  takeDue(): {
    publish: { start: number; announced: Balance['told'] | undefined }[]
    close: { start: number; books: ToldBook[] }[]
  } {
    const { clock } = this.world
    let publish: number[] = []
    if (this.flushed) {
      this.flushed = false
      const due = this.ledger.takeDue(clock)
      publish = due.publish
      for (const start of due.publish) this.checkComplete(start, start + WINDOW)
      for (const start of due.close) this.closing(start)
    }
    const closing = this.ledger.books.due(clock)
    const close = closing.map(({ start }) => ({ start, books: this.ledger.books.booksOf(start) }))
    for (const window of closing) {
      if (window.told > 0) this.world.met('a close signal was sent again')
      this.ledger.books.signalSent(window, clock)
      if (this.world.mutant === 'no answer awaited')
        this.ledger.settled({ start: window.start, books: [window.book] })
    }
    return {
      publish: publish.map(start => ({ start, announced: this.ledger.books.sumsOf(start) })),
      close,
    }
  }

  settled(settlement: Settlement): void {
    this.ledger.settled(settlement)
  }

  sourceOf(start: number): WindowSource | undefined {
    const source = this.ledger.sourceOf(start)
    if (source && this.world.mutant === 'no checkpoint')
      for (const partition of source.partitions) partition.from = partition.to
    return source
  }

  /** Windows whose answer did not balance. */
  get unbalanced(): number[] {
    return this.ledger.closing.filter(({ balance }) => balance !== undefined).map(({ start }) => start)
  }

  /** Windows that have fewer hits than were announced. */
  get lacking(): number[] {
    const lacks = ({ balance }: ClosingWindow) => balance && balance.accounted.hits < balance.told.hits
    return this.ledger.closing.filter(lacks).map(({ start }) => start)
  }

  /** What was announced for a window, by the simulation's own count. */
  announcedFor(start: number): Sums {
    return this.announcedSums.get(start) ?? { hits: 0, exceptions: 0 }
  }

  /** How many records were announced. */
  get announcedRecords(): number {
    return [...this.announcedSums.values()].reduce((sum, { hits, exceptions }) => sum + hits + exceptions, 0)
  }

  /** Only the first time: late deltas close the window again. */
  private closing(start: number): void {
    if (this.announcedAtClosing.has(start)) return
    this.checkComplete(start, start + WINDOW + this.world.allowedLateness)
    const announced = this.kafka.log.map((_, partition) => this.announced(partition))
    this.announcedAtClosing.set(start, announced)
  }

  /**
   * A window may publish or close once each partition's watermark has passed its end, or the partition is silent and
   * everything is done that came before the end and the delay had passed. If a poller of an older release says that the
   * partition is silent, it is only certain that they have passed.
   */
  private checkComplete(start: number, end: number): void {
    for (const [partition, log] of this.kafka.log.entries()) {
      const position = this.ledger.partitions[partition]?.position ?? 0
      const done = log.filter(({ offset }) => offset < position)
      const next = this.idleByOldPoller.has(partition) ? undefined : log[done.length]?.at
      const doneUntil = next ?? this.world.clock
      if (doneUntil < end + DELAY && newestEventTime(done) - DELAY < end)
        throw new Error(
          `window ${start} was signalled when partition ${partition} was only done until ${doneUntil}`,
        )
    }
  }

  private announced(partition: number): number {
    const entry = this.ledger.partitions[partition]
    return entry?.announcedTo ?? entry?.position ?? 0
  }

  /** A range that was announced before its window closed must be part of the result. */
  mayBeLate(start: number, { partition, first }: Delta): boolean {
    return first >= (this.announcedAtClosing.get(start)?.[partition] ?? 0)
  }

  continueAsNew(): void {
    const carried = JSON.parse(JSON.stringify(this.ledger.snapshot())) as LedgerState
    this.ledger = new Ledger(this.rules, carried)
  }

  /** Whether every record is done and every window is closed. */
  get finished(): boolean {
    const { open, closing } = this.ledger.windowCounts
    if (open > 0 || closing > 0) return false
    const { partitions } = this.ledger
    return this.kafka.log.every((_, p) => (partitions[p]?.position ?? 0) >= this.kafka.end(p))
  }

  get state(): LedgerState {
    return this.ledger.snapshot()
  }
}
