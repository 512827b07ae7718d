import type { Batch } from 'kafkajs'
import KafkajsBatch from 'kafkajs/src/consumer/batch'
import type { OffsetSpan } from '../core/event/log-record'

/** What one fetch has of one partition, with what the types of kafkajs leave out. */
export interface FetchedBatch extends Batch {
  /** The offset that the fetch asked for. */
  fetchedOffset: string
  /** All that Kafka sent, in order of the offsets. Compressed batches may begin before the offset that was asked for. */
  rawMessages: { offset: string }[]
}

/**
 * kafkajs keeps a fetch to itself if it filters out all of its messages, and only the messages tell which offsets
 * compaction has removed. So a fetch counts as empty only if Kafka sent nothing.
 */
KafkajsBatch.prototype.isEmpty = function (this: FetchedBatch) {
  return this.rawMessages.length === 0
}

/**
 * The offsets of `[from, next)` for which Kafka sent nothing. Kafka does send transaction markers and the records of
 * aborted transactions, which kafkajs filters out of `messages`. So what is missing was removed by compaction.
 */
export function removedOffsets({ rawMessages }: FetchedBatch, from: number, next: number): OffsetSpan[] {
  const removed: OffsetSpan[] = []
  let expected = from
  for (const message of rawMessages) {
    const offset = Number(message.offset)
    if (offset >= next) break
    if (offset > expected) removed.push({ from: expected, to: offset })
    expected = Math.max(expected, offset + 1)
  }
  if (next > expected) removed.push({ from: expected, to: next })
  return removed
}
