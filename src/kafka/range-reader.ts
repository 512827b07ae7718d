import { randomUUID } from 'node:crypto'
import type { LogRecord, OffsetSpan } from '../core/event/log-record'
import { UserError } from '../errors'
import { kafkaClient, retryEvery100ms, topicOffsets, withAdmin } from './client'
import { describeUnreadable } from './codecs'
import type { KafkaConnection } from './connection'
import { GroupReader, type Fetch, type Position } from './group-reader'
import { inSteps, keepingSession, Turn } from './turn'

/** The offsets `[from, to)` of a partition. */
export interface LogRange {
  partition: number
  from: number
  to: number
}

/** Kafka no longer has some of the records. */
export class RangeGoneError extends Error {
  override name = 'RangeGoneError'
}

/** Records prepared together. */
const SLICE = 2_000

export interface RangeReading<R extends LogRange = LogRange> {
  kafka: KafkaConnection
  topic: string
  /** Prefix of the temporary consumer group's name. */
  group: string
  signal: AbortSignal
  /** Awaited before records are passed to `onRecords`. */
  prepare?: (records: LogRecord[]) => Promise<void>
  /**
   * Receives a range's records in order; they cover every offset before `next`. Compaction has removed those of
   * `removed`, which is the same for the whole fetch. Returns true to skip the rest.
   */
  onRecords: (range: R, records: LogRecord[], next: number, removed: readonly OffsetSpan[]) => boolean | void
}

/**
 * Reads ranges of a topic once, the ranges of one partition in order. Check with {@link rangesThatAreGone} first: offsets
 * beyond the end of the log are waited for.
 *
 * @throws RangeGoneError if Kafka removes records of a range before they are read
 * @throws UserError if a batch cannot be decoded
 */
export async function readRanges<R extends LogRange>(ranges: R[], reading: RangeReading<R>): Promise<void> {
  if (ranges.length === 0) return
  const { kafka, topic, signal } = reading
  const group = `${reading.group}-${randomUUID()}`
  const queue = new RangeQueue(ranges, reading)
  const reader: GroupReader = new GroupReader(kafkaClient(kafka, 'web-traffic-replay'), group, topic, {
    onAssigned: partitions =>
      reader.begin(queue.positions.filter(({ partition }) => partitions.includes(partition))),
    onRecords: (fetch, heartbeat) => queue.consume(fetch, heartbeat, reader),
    onUnreadable: batch =>
      queue.fail(new UserError(`Kafka's log cannot be read in ${describeUnreadable(batch)}.`)),
    onError: error => queue.fail(error),
  })
  const abort = () => queue.fail(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  try {
    signal.throwIfAborted()
    await reader.start()
    await queue.finished
  } finally {
    signal.removeEventListener('abort', abort)
    await reader.stop()
    await deleteGroup(kafka, group)
  }
}

/** The ranges that lie partly before the earliest offset or beyond the end of the log. */
export async function rangesThatAreGone<R extends LogRange>(
  ranges: R[],
  { kafka, topic }: Pick<RangeReading, 'kafka' | 'topic'>,
): Promise<Set<R>> {
  const offsets = await withAdmin(kafka, admin => topicOffsets(admin, topic))
  const isGone = ({ partition, from, to }: R) => {
    const { low, high } = offsets[partition] ?? { low: 0, high: 0 }
    return from < low || to > high
  }
  return new Set(ranges.filter(isGone))
}

class RangeQueue<R extends LogRange> {
  readonly finished: Promise<void>
  /** Unfinished ranges by partition, the current one first. */
  private readonly waiting = new Map<number, R[]>()
  private readonly at = new Map<number, number>()
  private failed = false
  private finish!: () => void
  fail!: (error: Error) => void

  constructor(
    ranges: R[],
    private readonly reading: RangeReading<R>,
  ) {
    for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
      const { partition, from } = range
      this.waiting.set(partition, [...(this.waiting.get(partition) ?? []), range])
      if (!this.at.has(partition)) this.at.set(partition, from)
    }
    this.finished = new Promise((resolve, reject) => {
      this.finish = resolve
      this.fail = error => {
        this.failed = true
        reject(error)
      }
    })
    // The queue may fail before `finished` is awaited.
    this.finished.catch(() => undefined)
  }

  get positions(): Position[] {
    return [...this.waiting.keys()].map(partition => ({ partition, position: this.at.get(partition)! }))
  }

  async consume(fetch: Fetch, heartbeat: () => Promise<void>, reader: GroupReader): Promise<void> {
    const { partition, fetchedFrom, next } = fetch
    const range = this.waiting.get(partition)?.[0]
    const position = this.at.get(partition)!
    if (!range || next <= position) return
    if (fetchedFrom > position)
      return this.fail(
        new RangeGoneError(`Kafka no longer has partition ${partition} from offset ${position} on.`),
      )
    const isDone = () => this.at.get(partition)! >= range.to
    const turn = new Turn()
    for (let index = 0; !isDone() && (index === 0 || index < fetch.length); index += SLICE) {
      const end = Math.min(index + SLICE, fetch.length)
      const records = Array.from({ length: end - index }, (_, i) => fetch.record(index + i))
      if (!(await this.prepare(records, heartbeat))) return
      for (const step of inSteps(records)) {
        const last = step.at(-1)
        const endsFetch = end === fetch.length && last === records.at(-1)
        const covered = last && !endsFetch ? last.offset + 1 : next
        const isEnough = this.reading.onRecords(range, step, covered, fetch.removed)
        this.at.set(partition, isEnough ? Math.max(covered, range.to) : covered)
        if (isDone()) break
        if (turn.over) await turn.pass(heartbeat)
      }
      await turn.pass(heartbeat)
    }
    if (isDone()) this.startNextRange(partition, reader)
  }

  /** Whether the records can be read now; false if the queue has failed. */
  private async prepare(records: LogRecord[], heartbeat: () => Promise<void>): Promise<boolean> {
    if (!this.reading.prepare) return true
    const prepared = this.reading.prepare(records).catch((error: unknown) => this.fail(error as Error))
    await keepingSession(prepared, heartbeat, () => this.failed)
    return !this.failed
  }

  private startNextRange(partition: number, reader: GroupReader): void {
    const [next, ...rest] = this.waiting.get(partition)!.slice(1)
    if (next) {
      this.waiting.set(partition, [next, ...rest])
      this.at.set(partition, next.from)
      reader.begin([{ partition, position: next.from }])
    } else {
      this.waiting.delete(partition)
      reader.pause([partition])
    }
    if (this.waiting.size === 0) this.finish()
  }
}

/** The broker would keep the group for a week, and deletes it only once it has noticed that the last member left. */
async function deleteGroup(kafka: KafkaConnection, group: string): Promise<void> {
  await withAdmin(kafka, admin => retryEvery100ms(20, () => admin.deleteGroups([group]))).catch(
    () => undefined,
  )
}
