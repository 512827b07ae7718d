import type { LogRecord } from '../core/event/log-record'
import type { PartitionReader } from '../core/window/partition-reader'
import type { PollerState } from '../core/window/poller-state'
import type { PipelineSettings } from '../core/settings'
import { passesWindowEnd } from '../core/window/watermark'
import type { BatchLookup } from '../geo/lookup'
import type { Fetch } from '../kafka/group-reader'
import { keepingSession } from '../kafka/session'
import { inSteps, STEP, Turn } from '../kafka/turn'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import type { PartitionLag } from './partition-lag'

/** Records held unannounced at most; a fetch waits until they are cut. */
const MAX_PENDING_RECORDS = 200_000
/** Records whose addresses are looked up together, and that are counted in one turn at most. */
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
    private readonly ends: PartitionLag,
    private readonly metrics: PollerMetrics,
    private readonly events: IntakeEvents,
    private readonly service?: BatchLookup,
  ) {}

  async consume(fetch: Fetch, heartbeat: () => Promise<void>): Promise<void> {
    const { partition } = fetch
    this.ends.fetched(fetch)
    if (this.ends.unread(this.state.partitions) >= MAX_PENDING_RECORDS) this.backlog = true
    const reader = this.state.reader(partition)
    // Not claimed, or read already: the claim seeks to where reading has to begin.
    if (!reader || fetch.next <= reader.position) return this.passOver(reader, fetch.length)
    if (fetch.fetchedFrom > reader.position) return this.events.leftGap()
    let index = 0
    let slice: LogRecord[] = []
    let located = false
    const turn = new Turn()
    const untilCut = async () => {
      await this.untilCut(heartbeat)
      // Other partitions were read meanwhile, and their addresses may have taken the place of these.
      located = false
    }
    while (!this.ended.signal.aborted) {
      // Claimed anew meanwhile: the reader that took what came before is gone with it, and that is read again.
      if (this.state.reader(partition) !== reader) return this.passOver(undefined, fetch.length - index)
      if (!reader.rereading && this.pendingRecords >= MAX_PENDING_RECORDS) {
        await untilCut()
        continue
      }
      if (slice.length === 0) {
        const room = reader.rereading ? SLICE : MAX_PENDING_RECORDS - this.pendingRecords
        slice = recordsOf(fetch, index, Math.min(SLICE, room))
        located = false
      }
      if (this.service && !located) {
        const unknown = await unknownOf(this.service, slice, turn, heartbeat)
        if (unknown.length > 0) await this.untilLocated(unknown, heartbeat)
        else located = true
        continue
      }
      const before = reader.basis
      const next = index + slice.length === fetch.length ? fetch.next : endOf(slice)
      const { taken, full } = this.takeTurn(reader, slice, next, turn)
      this.taken += taken
      index += taken
      slice = slice.slice(taken)
      if (this.completes(before, reader.basis)) this.events.flushSoon()
      if (full) await untilCut()
      else if (index >= fetch.length) return
      else await turn.pass(heartbeat)
    }
  }

  /** How many of the records were taken, and whether the range has to be cut before the next: else the turn is over. */
  private takeTurn(reader: PartitionReader, records: LogRecord[], next: number, turn: Turn) {
    const { position } = reader
    let taken = 0
    let full: boolean
    do {
      const step = records.slice(taken, taken + STEP)
      const isLast = taken + step.length === records.length
      const stepTaken = reader.read(step, isLast ? next : endOf(step))
      taken += stepTaken
      full = stepTaken < step.length
    } while (!full && taken < records.length && !turn.over)
    const awaited = records.findIndex(({ offset }) => offset >= position)
    const done = awaited < 0 ? taken : Math.min(awaited, taken)
    if (done > 0) this.metrics.passedOver(done, 'done')
    return { taken, full }
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

/** Addresses that have to be looked up before the records are counted. */
async function unknownOf(
  service: BatchLookup,
  records: LogRecord[],
  turn: Turn,
  heartbeat: () => Promise<void>,
): Promise<string[]> {
  const unknown = new Set<string>()
  for (const step of inSteps(records)) {
    for (const address of service.unknownOf(step)) unknown.add(address)
    if (turn.over) await turn.pass(heartbeat)
  }
  return [...unknown]
}

function recordsOf(fetch: Fetch, from: number, atMost: number): LogRecord[] {
  return Array.from({ length: Math.min(atMost, fetch.length - from) }, (_, i) => fetch.record(from + i))
}

/** Before this offset the records cover everything. */
function endOf(records: LogRecord[]): number {
  return records[records.length - 1]!.offset + 1
}
