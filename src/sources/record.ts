export interface TrafficRecord {
  /** Text is sent as UTF-8; null sends a record without a value. */
  value: string | Buffer | null
  /** Default: the record's index modulo the number of partitions. */
  partition?: number
  /** Not a usable event; counted in the result. */
  malformed?: boolean
  /** Late for its window; counted in the result. */
  late?: boolean
}

export type Records = Iterable<TrafficRecord> | AsyncIterable<TrafficRecord>
