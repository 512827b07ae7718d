import type { LogRecord } from '../core/event/log-record'
import type { PipelineSettings } from '../core/settings'
import type { PartitionReader } from '../core/window/partition-reader'
import type { PollerState } from '../core/window/poller-state'
import { passesWindowEnd } from '../core/window/watermark'
import type { BatchLookup } from '../geo/lookup'
import type { Fetch } from '../kafka/group-reader'
import { inSteps, keepingSession, Turn } from '../kafka/turn'
import type { PollerMetrics } from '../telemetry/poller-metrics'
import type { PartitionLag } from './partition-lag'

/** While this many records are unannounced, fetches wait until ranges are cut. */
const MAX_PENDING_RECORDS = 200_000
/** The same for the size of their counts. */
const MAX_PENDING_BYTES = 64_000_000
const SLICE = 2_000

type Heartbeat = () => Promise<void>

export interface IntakeDependencies {
  settings: Pick<PipelineSettings, 'windowSize' | 'watermarkDelay'>
  state: PollerState
  lag: PartitionLag
  metrics: PollerMetrics
  service?: BatchLookup | undefined
  /** The pending records should not wait for the flush interval. */
  flushSoon: () => void
  /** The fetch starts past the position, for example because retention removed records. */
  onGap: () => void
  /** The lookup failed permanently or for too long. */
  onError: (error: Error) => void
}

/**
 * Feeds fetches into the poller's readers, slice by slice. A fetch waits while its addresses are looked up, and while too
 * many records are pending; the session with the consumer group stays alive meanwhile.
 */
export class Intake {
  /** Set once ranges are cut because too much is unread. When everything is read, the rest is flushed at once. */
  private backlog = false
  private cutWaiters: (() => void)[] = []
  private readonly ended = new AbortController()
  taken = 0

  constructor(private readonly dependencies: IntakeDependencies) {}

  async consume(fetch: Fetch, heartbeat: Heartbeat): Promise<void> {
    const { state, lag, metrics, service, onGap } = this.dependencies
    const { partition, length } = fetch
    lag.fetched(fetch)
    if (lag.totalLag(state.partitions) >= MAX_PENDING_RECORDS) this.backlog = true
    const reader = state.reader(partition)
    if (!reader || fetch.next <= reader.position)
      return metrics.passedOver(length, reader ? 'done' : 'not_held')
    if (fetch.fetchedFrom > reader.position) return onGap()
    const turn = new Turn()
    let index = 0
    while (!this.ended.signal.aborted) {
      // After another claim, a new reader reads these records again.
      if (state.reader(partition) !== reader) return metrics.passedOver(length - index, 'not_held')
      const room = reader.rereading ? SLICE : this.room
      if (room <= 0) {
        await this.untilCut(heartbeat)
        continue
      }
      const records = recordsOf(fetch, index, Math.min(SLICE, room))
      // Every wait can evict addresses from the cache and change the reader, so check again after it.
      if (service && (await this.lookUp(service, records, turn, heartbeat))) continue
      const end = index + records.length
      const next = end === length ? fetch.next : endOf(records)
      const taken = await this.take(reader, { ...fetch, next }, records, turn, heartbeat)
      index += taken
      if (index < end) {
        if (state.reader(partition) === reader) await this.untilCut(heartbeat)
      } else if (end === length) return
      else await turn.pass(heartbeat)
    }
  }

  /** Reads records until the range is full or the reader is replaced. Returns how many were read. */
  private async take(
    reader: PartitionReader,
    { next, removed }: Pick<Fetch, 'next' | 'removed'>,
    records: LogRecord[],
    turn: Turn,
    heartbeat: Heartbeat,
  ): Promise<number> {
    const { state, metrics, flushSoon } = this.dependencies
    let taken = 0
    for (const step of inSteps(records)) {
      if (turn.over) await turn.pass(heartbeat)
      if (this.ended.signal.aborted || state.reader(reader.partition) !== reader) break
      const { position, basis } = reader
      const isLast = taken + step.length === records.length
      const read = reader.read(step, isLast ? next : endOf(step), removed)
      taken += read
      this.taken += read
      const known = step.findIndex(({ offset }) => offset >= position)
      metrics.passedOver(known < 0 ? read : Math.min(known, read), 'done')
      if (this.mustFlush(basis, reader)) flushSoon()
      if (read < step.length) break
    }
    return taken
  }

  /** Call this whenever ranges were cut or readers replaced. */
  onCut(): void {
    for (const release of this.cutWaiters.splice(0)) release()
  }

  /** Takes no more records and ends every wait. */
  end(): void {
    this.ended.abort()
    this.onCut()
  }

  /** How many more records may be pending. */
  private get room(): number {
    let records = 0
    let bytes = 0
    for (const reader of this.dependencies.state.partitions) {
      records += reader.pendingRecords
      bytes += reader.pendingBytes
    }
    return bytes < MAX_PENDING_BYTES ? MAX_PENDING_RECORDS - records : 0
  }

  /** Whether the last records end a backlog, or let a window close in live traffic. */
  private mustFlush(basisBefore: number | null, reader: PartitionReader): boolean {
    const { settings, state, lag } = this.dependencies
    const endsBacklog = this.backlog && lag.lag(reader) === 0 && lag.totalLag(state.partitions) === 0
    if (endsBacklog) this.backlog = false
    return (
      endsBacklog || (passesWindowEnd(basisBefore, reader.basis, settings) && lag.caughtUp(state.partitions))
    )
  }

  private async untilCut(heartbeat: Heartbeat): Promise<void> {
    const cut = new Promise<void>(resolve => this.cutWaiters.push(resolve))
    this.dependencies.flushSoon()
    await this.wait(cut, heartbeat)
  }

  private async lookUp(
    service: BatchLookup,
    records: LogRecord[],
    turn: Turn,
    heartbeat: Heartbeat,
  ): Promise<boolean> {
    const unknown = new Set<string>()
    for (const step of inSteps(records)) {
      for (const address of service.unknownOf(step)) unknown.add(address)
      if (turn.over) await turn.pass(heartbeat)
    }
    if (unknown.size === 0) return false
    const since = performance.now()
    const { signal } = this.ended
    const resolved = service.resolve([...unknown], signal).catch((error: unknown) => {
      if (!signal.aborted) this.dependencies.onError(error as Error)
    })
    await this.wait(resolved, heartbeat)
    this.dependencies.metrics.lookedUp(unknown.size, performance.now() - since)
    return true
  }

  private wait(awaited: Promise<void>, heartbeat: Heartbeat): Promise<void> {
    return keepingSession(awaited, heartbeat, () => this.ended.signal.aborted)
  }
}

function recordsOf(fetch: Fetch, from: number, max: number): LogRecord[] {
  return Array.from({ length: Math.min(max, fetch.length - from) }, (_, i) => fetch.record(from + i))
}

function endOf(records: LogRecord[]): number {
  return records[records.length - 1]!.offset + 1
}
