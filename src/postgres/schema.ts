import type { ColumnType, Generated } from 'kysely'
import type { ColumnarCounts } from '../core/counts/columnar'
import type { AppliedPartition } from '../core/window/protocol'
import type { PeriodName } from '../core/window/periods'

/** What hits are counted by over a range. */
export type Dimension = 'host' | 'referrer' | 'country'

/** int8 arrives as a string from pg; counts and offsets stay below 2^53 and are parsed to numbers (see database.ts). */
export interface PipelineTable {
  singleton: Generated<boolean>
  kafka_group: string
  topic: string
  namespace: string
  created_at: Generated<Date>
}

export interface AggregatedWebTrafficTable {
  window_start: Date
  window_end: Date
  host: string
  referrer: string
  num_hits: number
}

export interface AggregatedWebTrafficByCountryTable extends AggregatedWebTrafficTable {
  country: string
}

export interface TrafficRollupsTable {
  period: 'window' | PeriodName
  period_start: Date
  dimension: Dimension
  /** Empty for all hosts together. */
  host: string
  name: string
  num_hits: number
}

export interface SealedPeriodsTable {
  period: PeriodName
  period_start: Date
}

export interface PastRetentionTable {
  singleton: Generated<boolean>
  dropped_before: Date
  late_hits: number
}

export interface WindowResultsTable {
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

export interface StagedPiecesTable {
  window_start: Date
  chain: string
  number: number
  counts: ColumnType<ColumnarCounts[], string, string>
}

export interface StagedDeltasTable {
  window_start: Date
  kafka_partition: number
  last_offset: number
  first_offset: number
  num_hits: number
  unlocated: number
  counts: ColumnType<ColumnarCounts, string, string>
}

export interface WindowBooksTable {
  window_start: Date
  book: number
  num_hits: number
  exceptions: number
}

export interface LateDeltasTable extends AggregatedWebTrafficByCountryTable {
  kafka_partition: number
  range_from: number
  cause: 'watermark' | 'closed'
  brought_in: Generated<number | null>
  /** The window that was the partition's current one; null in what an older release recorded. */
  read_in: Generated<Date | null>
}

export interface ExceptionRangesTable {
  kafka_partition: number
  range_from: number
  window_start: Generated<Date>
  records: Generated<number>
  rejected: ColumnType<Record<string, number>, string | undefined, string>
  /** Of a stretch that a repair has recorded, in place of all ranges that begin in it. */
  range_to: Generated<number | null>
}

export interface RejectedCountsTable {
  topic: string
  partition: number
  reason: string
  records: number
}

export interface RejectedEventsTable {
  topic: string
  partition: number
  kafka_offset: number
  reason: string
  rejected_at: Generated<Date>
  republished_at: Generated<Date | null>
}

export interface LateWebTrafficView extends AggregatedWebTrafficByCountryTable {
  cause: 'watermark' | 'closed'
}

export interface TrafficWindowsView {
  window_start: Date
  window_end: Date
  status: 'published' | 'closed'
  num_hits: number
  late_hits: number
  groups: number
  revision: number
  closed_at: Date
  partitions: AppliedPartition[]
  unlocated: number
}

export interface Database {
  pipeline_owner: PipelineTable
  aggregated_web_traffic: AggregatedWebTrafficTable
  aggregated_web_traffic_by_country: AggregatedWebTrafficByCountryTable
  traffic_rollups: TrafficRollupsTable
  sealed_periods: SealedPeriodsTable
  past_retention: PastRetentionTable
  window_results: WindowResultsTable
  staged_pieces: StagedPiecesTable
  staged_deltas: StagedDeltasTable
  window_books: WindowBooksTable
  late_deltas: LateDeltasTable
  exception_ranges: ExceptionRangesTable
  rejected_counts: RejectedCountsTable
  rejected_events: RejectedEventsTable
  late_web_traffic: LateWebTrafficView
  traffic_windows: TrafficWindowsView
}
