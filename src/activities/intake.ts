import { setImmediate as yieldToOthers } from 'node:timers/promises'
import type { PartitionReader } from '../core/partition-reader'
import type { PollerState } from '../core/poller-state'
import type { PipelineSettings } from '../core/settings'
import { passesWindowEnd } from '../core/watermark'
import type { AskedFirst } from '../geo/lookup'
import type { Fetch } from '../kafka/group-reader'
import { keepingSession } from '../kafka/session'
import type { PollerMetrics } from '../metrics/poller-metrics'
import type { LogEnds } from './log-ends'

/** Records held unannounced at most; a fetch waits until they are cut. */
const MAX_PENDING_RECORDS = 200_000
/** Records counted in one go before others, such as heartbeats, have their turn. */
const SLICE = 2_000

/** What a poller is told by its intake. */
export interface IntakeEvents {
  /** What is held should not wait for the flush interval. */
  flushSoon: () => void
  /** The fetch left a gap: kafkajs went elsewhere, as it does where retention has removed the position. */
  leftGap: () => void
  /** The look-up gave up. */
  failed: (error: Error) => void
}

/**
 * Takes what Kafka hands out into a poller's readers, a slice at a time. A fetch waits where its addresses have to be
 * looked up, and where the range that is being read has to be cut first; the group hears of the poller meanwhile.
 */
export class Intake {
  /** So much was unread that ranges were cut for their size; once all of it is read, what is left is not kept waiting. */
  private backlog = false
  private cutWaiters: (() => void)[] = []
  /** Aborted when nothing more is taken. */
  private readonly ended = new AbortController()
  /** Records so far. */
  taken = 0

  constructor(
    private readonly settings: Pick<PipelineSettings, 'windowSize' | 'watermarkDelay'>,
    private readonly state: PollerState,
    private readonly ends: LogEnds,
    private readonly metrics: PollerMetrics,
    private readonly events: IntakeEvents,
    private readonly service?: AskedFirst,
  ) {}

  async take(fetch: Fetch, heartbeat: () => Promise<void>): Promise<void> {
    const { partition } = fetch
    this.ends.fetched(fetch)
    if (this.ends.unread(this.state.partitions) >= MAX_PENDING_RECORDS) this.backlog = true
    const reader = this.state.reader(partition)
    // Not claimed, or read already: the claim seeks to where reading has to begin.
    if (!reader || fetch.next <= reader.position) return this.passOver(reader, fetch.length)
    if (fetch.fetchedFrom > reader.position) return this.events.leftGap()
    let index = 0
    while (!this.ended.signal.aborted) {
      // Claimed anew meanwhile: the reader that took what came before is gone with it, and that is read again.
      if (this.state.reader(partition) !== reader) return this.passOver(undefined, fetch.length - index)
      if (!reader.rereading && this.pendingRecords >= MAX_PENDING_RECORDS) {
        await this.untilCut(heartbeat)
        continue
      }
      const end = Math.min(index + SLICE, fetch.length)
      const records = Array.from({ length: end - index }, (_, i) => fetch.record(index + i))
      const unknown = this.service?.unknownOf(records)
      if (unknown && unknown.length > 0) {
        await this.untilLocated(unknown, heartbeat)
        continue
      }
      const doneBefore = records.findIndex(({ offset }) => offset >= reader.position)
      if (doneBefore !== 0) this.metrics.passedOver(doneBefore < 0 ? records.length : doneBefore, 'done')
      const next = end === fetch.length ? fetch.next : records[records.length - 1]!.offset + 1
      const before = reader.basis
      const taken = reader.take(records, next)
      this.taken += taken
      index += taken
      if (this.completes(before, reader.basis)) this.events.flushSoon()
      if (taken < records.length) await this.untilCut(heartbeat)
      else if (index >= fetch.length) return
      else await Promise.all([yieldToOthers(), heartbeat()])
    }
  }

  /** To be called whenever ranges were cut, or the readers are others. */
  onCut(): void {
    for (const release of this.cutWaiters.splice(0)) release()
  }

  /** Takes nothing more, and lets go of whatever waits. */
  end(): void {
    this.ended.abort()
    this.onCut()
  }

  private passOver(reader: PartitionReader | undefined, records: number): void {
    if (records > 0) this.metrics.passedOver(records, reader ? 'done' : 'not_held')
  }

  private get pendingRecords(): number {
    return this.state.partitions.reduce((sum, reader) => sum + reader.pendingRecords, 0)
  }

  /** Whether what was taken ends a backlog, or lets a window close in live traffic. */
  private completes(before: number | null, after: number | null): boolean {
    const { partitions } = this.state
    const endsBacklog = this.backlog && this.ends.unread(partitions) === 0
    if (endsBacklog) this.backlog = false
    return endsBacklog || (passesWindowEnd(before, after, this.settings) && this.ends.caughtUp(partitions))
  }

  /** Waits until the range is cut. */
  private async untilCut(heartbeat: () => Promise<void>): Promise<void> {
    const cut = new Promise<void>(resolve => this.cutWaiters.push(resolve))
    this.events.flushSoon()
    await this.keepingSession(cut, heartbeat)
  }

  /** Waits for a remote look-up; where it gives up, the poller fails with its reason, and nothing is counted. */
  private async untilLocated(addresses: string[], heartbeat: () => Promise<void>): Promise<void> {
    const since = Date.now()
    const { signal } = this.ended
    const resolved = this.service!.resolve(addresses, signal).catch((error: unknown) => {
      if (!signal.aborted) this.events.failed(error as Error)
    })
    await this.keepingSession(resolved, heartbeat)
    this.metrics.lookedUp(addresses.length, Date.now() - since)
  }

  private keepingSession(awaited: Promise<void>, heartbeat: () => Promise<void>): Promise<void> {
    return keepingSession(awaited, heartbeat, () => this.ended.signal.aborted)
  }
}
