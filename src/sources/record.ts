export interface TrafficRecord {
  /** Text is sent as UTF-8; null is a record without a value. */
  value: string | Buffer | null
  /** Default: the record's index modulo the number of partitions. */
  partition?: number
  /** Known to be no usable event; counted in the result. */
  malformed?: boolean
  /** Known to be late; counted in the result. */
  late?: boolean
}

export type Records = Iterable<TrafficRecord> | AsyncIterable<TrafficRecord>
