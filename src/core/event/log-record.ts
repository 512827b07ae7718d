/** The offsets `[from, to)` of a partition. */
export interface OffsetSpan {
  from: number
  to: number
}

/** One Kafka record. */
export interface LogRecord {
  offset: number
  /** Epoch milliseconds. */
  timestamp: number
  /** UTF-8 text; null for a tombstone. */
  value: Uint8Array | null
  /** Bytes; -1 or absent if the record has no key. */
  keySize?: number
  /** Epoch of the leader that appended the record, if Kafka reports it. */
  leaderEpoch?: number
}
