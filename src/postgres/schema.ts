import type { ColumnType, Generated, Selectable } from 'kysely'
import type { ColumnarCounts } from '../core/counts/columnar'
import type { AppliedPartition } from '../core/window/protocol'
import type { PeriodName } from '../core/window/periods'

/** What hits are counted by over a range. */
export type Dimension = 'host' | 'referrer' | 'country'

interface Counts {
  window_start: Date
  window_end: Date
  host: string
  referrer: string
  num_hits: number
}

interface CountsByCountry extends Counts {
  country: string
}

interface WindowResults {
  window_start: Date
  window_end: Date
  status: 'published' | 'closed'
  num_hits: number
  groups: number
  revision: number
  closed_at: Date
  partitions: ColumnType<AppliedPartition[], string, string>
  unlocated: Generated<number>
}

export interface Database {
  pipeline_owner: {
    singleton: Generated<boolean>
    kafka_group: string
    topic: string
    namespace: string
    created_at: Generated<Date>
  }
  aggregated_web_traffic: Counts
  aggregated_web_traffic_by_country: CountsByCountry
  traffic_rollups: {
    period: 'window' | PeriodName
    period_start: Date
    dimension: Dimension
    /** Empty for all hosts together. */
    host: string
    name: string
    num_hits: number
  }
  sealed_periods: {
    period: PeriodName
    period_start: Date
  }
  past_retention: {
    singleton: Generated<boolean>
    dropped_before: Date
    late_hits: number
  }
  window_results: WindowResults
  staged_pieces: {
    window_start: Date
    chain: string
    number: number
    counts: ColumnType<ColumnarCounts[], string, string>
  }
  staged_deltas: {
    window_start: Date
    kafka_partition: number
    last_offset: number
    first_offset: number
    num_hits: number
    unlocated: number
    counts: ColumnType<ColumnarCounts, string, string>
  }
  window_books: {
    window_start: Date
    book: number
    num_hits: number
    exceptions: number
  }
  late_deltas: CountsByCountry & {
    kafka_partition: number
    range_from: number
    cause: 'watermark' | 'closed'
    /** The revision in which a replay brought them into the result. */
    brought_in: Generated<number | null>
    /** Start of the partition's current window; null in rows of an older release. */
    read_in: Generated<Date | null>
  }
  exception_ranges: {
    kafka_partition: number
    range_from: number
    window_start: Generated<Date>
    records: Generated<number>
    rejected: ColumnType<Record<string, number>, string | undefined, string>
    /** Set by a repair, whose row replaces all ranges that begin before it. */
    range_to: Generated<number | null>
  }
  rejected_counts: {
    topic: string
    partition: number
    reason: string
    records: number
  }
  rejected_events: {
    topic: string
    partition: number
    kafka_offset: number
    reason: string
    rejected_at: Generated<Date>
    republished_at: Generated<Date | null>
  }
  late_web_traffic: CountsByCountry & { cause: 'watermark' | 'closed' }
  traffic_windows: Selectable<WindowResults> & { late_hits: number }
}
