import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogRecord } from '../core/event/log-record'
import { kafkaClient, topicOffsets, withAdmin } from './client'
import type { KafkaConnection } from './connection'
import { GroupReader, type Fetch } from './group-reader'
import { keepingSession } from './session'
import { inSteps, Turn } from './turn'

/** A stretch `[from, to)` of a partition's offsets. */
export interface LogRange {
  partition: number
  from: number
  to: number
}

/** Records that Kafka no longer has. */
export class RangeGoneError extends Error {
  override name = 'RangeGoneError'
}

/** Records handed over at once, between which others, such as heartbeats, have their turn. */
const SLICE = 2_000
/** A group is deleted once the broker has noticed that its last member left. */
const DELETE_TRIES = 20

export interface RangeReading<R extends LogRange = LogRange> {
  kafka: KafkaConnection
  topic: string
  /** Begins the name of the group that reads, and is gone afterwards. */
  group: string
  signal: AbortSignal
  /** Called before records are handed over, and waited for. */
  prepare?: (records: LogRecord[]) => Promise<void>
  /** Records of a range in their order; everything before `next` is covered. True where the rest is not needed. */
  onRecords: (range: R, records: LogRecord[], next: number) => boolean | void
}

/**
 * Reads ranges of a topic once, those of a partition one after another. The ranges must be there: see
 * {@link rangesThatAreGone}.
 *
 * @throws RangeGoneError where records vanish meanwhile
 */
export async function readRanges<R extends LogRange>(ranges: R[], reading: RangeReading<R>): Promise<void> {
  if (ranges.length === 0) return
  const { kafka, topic } = reading
  const group = `${reading.group}-${randomUUID()}`
  const queue = new RangeQueue(ranges, reading)
  const reader: GroupReader = new GroupReader(kafkaClient(kafka, 'web-traffic-replay'), group, topic, {
    onAssigned: partitions =>
      reader.begin(queue.positions.filter(({ partition }) => partitions.includes(partition))),
    onRecords: (fetch, heartbeat) => queue.consume(fetch, heartbeat, reader),
    onError: error => queue.fail(error),
  })
  const abort = () => queue.fail(reading.signal.reason as Error)
  reading.signal.addEventListener('abort', abort, { once: true })
  try {
    reading.signal.throwIfAborted()
    await reader.start()
    await queue.finished
  } finally {
    reading.signal.removeEventListener('abort', abort)
    await reader.stop()
    await deleteGroup(kafka, group)
  }
}

/** The ranges of which the topic has lost records, or never had them. */
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
    // It may fail before anybody waits.
    this.finished.catch(() => undefined)
  }

  /** Of the partitions that are not read to the end of their last range. */
  get positions(): { partition: number; position: number }[] {
    return [...this.waiting.keys()].map(partition => ({ partition, position: this.at.get(partition)! }))
  }

  async consume(fetch: Fetch, heartbeat: () => Promise<void>, reader: GroupReader): Promise<void> {
    const { partition, fetchedFrom, next } = fetch
    const range = this.waiting.get(partition)?.[0]
    const position = this.at.get(partition)!
    if (!range || next <= position) return
    if (fetchedFrom > position)
      return this.fail(new RangeGoneError(`Offsets from ${position} on of partition ${partition} are gone.`))
    const turn = new Turn()
    for (let index = 0; index < fetch.length && this.at.get(partition)! < range.to; index += SLICE) {
      const end = Math.min(index + SLICE, fetch.length)
      const records = Array.from({ length: end - index }, (_, i) => fetch.record(index + i))
      if (this.reading.prepare) {
        const prepared = this.reading.prepare(records).catch((error: unknown) => this.fail(error as Error))
        await keepingSession(prepared, heartbeat, () => this.failed)
        if (this.failed) return
      }
      const covered = end === fetch.length ? next : records.at(-1)!.offset + 1
      const last = records.at(-1)
      for (const step of inSteps(records)) {
        const isLast = step.at(-1) === last
        this.hand(range, step, isLast ? covered : step.at(-1)!.offset + 1)
        if (this.at.get(partition)! >= range.to) break
        if (turn.over) await turn.pass(heartbeat)
      }
      await turn.pass(heartbeat)
    }
    if (fetch.length === 0) this.hand(range, [], next)
    if (this.at.get(partition)! >= range.to) this.nextRange(range, reader)
  }

  private hand(range: R, records: LogRecord[], next: number): void {
    const isEnough = this.reading.onRecords(range, records, next)
    this.at.set(range.partition, isEnough ? Math.max(next, range.to) : next)
  }

  private nextRange({ partition }: R, reader: GroupReader): void {
    const [, ...rest] = this.waiting.get(partition)!
    if (rest.length === 0) {
      this.waiting.delete(partition)
      reader.pause([partition])
    } else {
      this.waiting.set(partition, rest)
      this.at.set(partition, rest[0]!.from)
      reader.begin([{ partition, position: rest[0]!.from }])
    }
    if (this.waiting.size === 0) this.finish()
  }
}

/** A group that nobody needs any more; the broker would keep it for a week. */
async function deleteGroup(kafka: KafkaConnection, group: string): Promise<void> {
  await withAdmin(kafka, async admin => {
    for (let tries = 1; tries <= DELETE_TRIES; tries++) {
      const deleted = await admin.deleteGroups([group]).then(
        () => true,
        () => false,
      )
      if (deleted) return
      await sleep(100)
    }
  }).catch(() => undefined)
}
