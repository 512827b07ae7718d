/** One record of the log. `timestamp` is epoch milliseconds. */
export interface LogRecord {
  offset: number
  timestamp: number
  /** UTF-8 text; null for a tombstone. */
  value: Uint8Array | null
  /** Bytes; -1, or absent, where the record has none. */
  keySize?: number
  /** Of the leader that appended it, where Kafka says so. */
  leaderEpoch?: number
}
