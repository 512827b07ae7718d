import { status } from '@grpc/grpc-js'
import type { PipelinePort } from '../../src/activities/pipeline-port'
import type { Staging } from '../../src/activities/staging'
import type { LogPort, Poller } from '../../src/activities/poller'
import { Ledger } from '../../src/core/window/ledger'
import type {
  ClaimAnswer,
  ClaimRequest,
  Delta,
  FlushAnswer,
  FlushRequest,
  Timed,
} from '../../src/core/window/protocol'
import type { LogRecord } from '../../src/core/event/log-record'
import type { Outgoing } from '../../src/core/window/poller-state'
import type { PipelineSettings } from '../../src/core/settings'
import { WindowState } from '../../src/core/window/window-state'

/** An error like those of grpc-js, which the client recognises by its details and metadata. */
export function grpcError(name: keyof typeof status, details: string = name): Error {
  const code = status[name]
  return Object.assign(new Error(`${code} ${name}: ${details}`), {
    code,
    details,
    metadata: { get: () => [] },
  })
}

/** For deltas that are never too large for a message. A TypeError is not retried. */
export const NO_STAGING: Staging = {
  stage: () => Promise.reject(new TypeError('a delta was staged')),
  record: () => Promise.reject(new TypeError('exceptions were recorded')),
}

const MAX_FETCH = 50_000

interface Partition {
  records: LogRecord[]
  /** Retention has removed the records before this offset. */
  low: number
  /** Compaction has removed the records at these offsets. */
  compacted: Set<number>
  /** Where the next fetch begins; undefined until the poller calls `begin`. */
  next: number | undefined
  paused: boolean
  fetching: boolean
}

/** A topic in memory. */
export class MemoryLog implements LogPort {
  private readonly partitions: Partition[]
  readonly committed = new Map<number, number>()
  /** When the ends of the partitions were requested, epoch ms. */
  readonly asked: number[] = []
  heartbeats = 0
  /** Runs at each heartbeat to the group. */
  beat: () => Promise<void> = () => Promise.resolve()
  down = false
  poller: Poller | undefined

  constructor(partitionCount: number) {
    this.partitions = Array.from({ length: partitionCount }, () => ({
      records: [],
      low: 0,
      compacted: new Set(),
      next: undefined,
      paused: false,
      fetching: false,
    }))
  }

  append(partition: number, records: LogRecord[]): void {
    const { records: log } = this.partitions[partition]!
    for (const record of records) log.push({ ...record, offset: log.length })
    void this.deliver(partition)
  }

  /**
   * Replaces the log, as if the topic was deleted and re-created.
   *
   * @param from where reading continues
   */
  replace(partition: number, records: LogRecord[], from = this.partitions[partition]!.next): void {
    const log = this.partitions[partition]!
    log.records = records.map((record, offset) => ({ ...record, offset }))
    log.low = 0
    if (from !== undefined) this.begin([{ partition, position: from }])
  }

  /** Removes a record, and leaves its offset as a gap. */
  compact(partition: number, offset: number): void {
    this.partitions[partition]!.compacted.add(offset)
  }

  removeBefore(partition: number, offset: number): void {
    this.partitions[partition]!.low = offset
  }

  /** The poller has read everything before this offset. */
  taken(partition: number): number {
    return this.partitions[partition]!.next ?? 0
  }

  isPaused(partition: number): boolean {
    return this.partitions[partition]!.paused
  }

  begin(positions: { partition: number; position: number }[]): void {
    for (const { partition, position } of positions) {
      const log = this.partitions[partition]!
      // kafkajs does the same if Kafka does not have the offset.
      const isThere = position >= log.low && position <= log.records.length
      Object.assign(log, { next: isThere ? position : log.low, paused: false })
      void this.deliver(partition)
    }
  }

  pause(partitions: number[]): void {
    for (const partition of partitions) this.partitions[partition]!.paused = true
  }

  offsets() {
    this.asked.push(Date.now())
    if (this.down) return Promise.reject(new Error('the broker is down'))
    return Promise.resolve(
      this.partitions.map(({ records, low }, partition) => ({ partition, low, high: records.length })),
    )
  }

  commit(positions: { partition: number; position: number }[]): Promise<void> {
    for (const { partition, position } of positions) this.committed.set(partition, position)
    return Promise.resolve()
  }

  private async deliver(partition: number): Promise<void> {
    const log = this.partitions[partition]!
    if (log.fetching) return
    log.fetching = true
    while (log.next !== undefined && !log.paused && log.next < log.records.length) {
      const from = log.next
      const next = Math.min(from + MAX_FETCH, log.records.length)
      const records = log.records.slice(from, next).filter(({ offset }) => !log.compacted.has(offset))
      const gone = [...log.compacted].filter(offset => offset >= from && offset < next).sort((a, b) => a - b)
      const fetch = {
        partition,
        fetchedFrom: from,
        next,
        removed: gone.map(offset => ({ from: offset, to: offset + 1 })),
        high: log.records.length,
        length: records.length,
        record: (index: number) => records[index]!,
      }
      await this.poller!.onRecords(fetch, () => {
        this.heartbeats++
        return this.beat()
      })
      if (log.next === from && !log.paused) log.next = next
    }
    log.fetching = false
  }
}

/** A step of a range or an idle claim. */
export interface PipelineEvent {
  kind: 'announced' | 'sending' | 'sent' | 'done' | 'idle' | 'awaited'
  partition: number
  /** The range's start if it is announced or sent, its end if it is done; the position of an idle claim. */
  offset: number
  /** The time of the idle claim, or of the event. Epoch ms. */
  at: number
}

/** The real ledger and window states, called directly. */
export class MemoryPipeline implements PipelinePort {
  readonly ledger: Ledger
  readonly windows = new Map<number, WindowState>()
  readonly events: PipelineEvent[] = []
  readonly claims: ClaimRequest[] = []
  /** Awaited by each call before it takes effect. */
  before: {
    claim?: () => Promise<unknown>
    flush?: () => Promise<unknown>
    send?: () => Promise<unknown>
    awaited?: () => Promise<unknown>
  } = {}

  constructor(settings: PipelineSettings) {
    this.ledger = new Ledger(settings)
  }

  async claim(request: ClaimRequest): Promise<Timed<ClaimAnswer>> {
    this.claims.push(request)
    await this.before.claim?.()
    return { ...structuredClone(this.ledger.claim(request)), now: this.now }
  }

  async flush(request: FlushRequest): Promise<Timed<FlushAnswer>> {
    await this.before.flush?.()
    const { now } = this
    const answer = { ...this.ledger.flush(structuredClone(request), now), now }
    for (const { partition, done, announce, idle } of request.partitions) {
      if (answer.refused.includes(partition)) continue
      if (done) this.add('done', partition, done.to)
      if (announce) this.add('announced', partition, announce.from)
      if (idle) this.add('idle', partition, idle.position, idle.at)
    }
    return answer
  }

  /** By a clock that tests do not change. */
  private get now(): number {
    return Math.floor(performance.timeOrigin + performance.now())
  }

  async awaited(partitions: number[], now: number): Promise<number[]> {
    for (const partition of partitions) this.add('awaited', partition, -1)
    await this.before.awaited?.()
    return this.ledger.awaited(partitions, now)
  }

  async send(outgoing: Outgoing): Promise<void> {
    const all = [...outgoing].flatMap(([start, sized]) => sized.map(({ delta }) => ({ start, delta })))
    for (const { delta } of all) this.add('sending', delta.partition, delta.from)
    await this.before.send?.()
    for (const { start, delta } of all) {
      this.window(start).apply(delta)
      this.add('sent', delta.partition, delta.from)
    }
  }

  /** Applies a delta of a poller that has died since. */
  receive(start: number, delta: Delta): void {
    this.window(start).apply(delta)
  }

  get hits(): number {
    return [...this.windows.values()].reduce((sum, { hits }) => sum + hits, 0)
  }

  of(kind: PipelineEvent['kind'], partition?: number): PipelineEvent[] {
    return this.events.filter(
      event => event.kind === kind && (partition === undefined || event.partition === partition),
    )
  }

  private window(start: number): WindowState {
    let window = this.windows.get(start)
    if (!window) this.windows.set(start, (window = new WindowState()))
    return window
  }

  private add(kind: PipelineEvent['kind'], partition: number, offset: number, at = Date.now()): void {
    this.events.push({ kind, partition, offset, at })
  }
}
