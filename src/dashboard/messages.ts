import type { Stuck } from '../contract/messages'

/** What the server tells the page, as JSON. Times are epoch milliseconds. */

/** The part of event time that is looked at, in buckets of equal length. */
export interface Span {
  from: number
  to: number
  /** A multiple of the windows' length. */
  bucket: number
  /** Length of the newest window. */
  windowSize: number
}

export interface Timeline {
  /** Null where there is no window yet. */
  span: Span | null
  hits: number
  /** The most frequent hosts of the span, most hits first, whichever is picked. */
  hosts: Ranked[]
  /** How many hosts there are in all. */
  hostCount: number
  /** The picked host alone, or the most frequent ones and the rest, each with its hits by bucket. */
  series: Series[]
}

export interface Series {
  /** Null for all hosts that have no series of their own. */
  host: string | null
  /** One for each bucket of the span. */
  hits: number[]
}

export interface Ranked {
  name: string
  hits: number
}

/** The first of many, and what all of them are together. */
export interface Ranking {
  top: Ranked[]
  names: number
  hits: number
}

export interface Breakdown {
  referrers: Ranking
  countries: Ranking
  late: LateHits[]
}

export interface LateHits {
  partition: number
  cause: 'watermark' | 'closed'
  hits: number
}

export interface WindowSummary {
  start: number
  end: number
  status: 'published' | 'closed'
  hits: number
  late: number
  groups: number
  revision: number
  closedAt: number
}

export interface WindowPage {
  /** Newest first. */
  windows: WindowSummary[]
  older: boolean
}

export interface WindowDetail {
  start: number
  /** Its workflow in the Temporal Web UI; null where that has no known address. */
  workflow: string | null
  /** Null where it has no result, or none yet. */
  result: WindowResult | null
}

export interface WindowResult extends WindowSummary {
  hosts: Ranking
  referrers: Ranking
  countries: Ranking
  /** What was read of each partition, by offsets. */
  read: { partition: number; from: number; last: number }[]
}

/** Something that is asked again and again: what it last said, and why it does not answer now. */
export interface Heard<T> {
  value: T | null
  /** When it last answered. */
  at: number | null
  /** A sentence, where the last attempt failed. */
  problem: string | null
}

/** What is told to everybody who watches. */
export interface Live {
  at: number
  pipeline: Heard<PipelineNow>
  /** End of each partition in Kafka. */
  kafka: Heard<PartitionEnd[]>
  results: Heard<ResultsNow>
}

export interface PartitionEnd {
  partition: number
  low: number
  high: number
}

export interface PipelineNow {
  group: string
  topic: string
  state: 'running' | 'stopped' | 'paused' | 'draining'
  pollers: { wanted: number; running: number }
  windowSize: number
  watermarkDelay: number
  /** Windows that are closed, since the pipeline began. */
  closed: number
  /** What is wrong with windows that should be closed, in sentences: the first few. */
  unsettled: string[]
  unsettledCount: number
  /** Windows that have not ended; of those that were told to close, the ones shown. */
  openCount: number
  /** Those that were told to close, then the oldest and the newest of the others. */
  open: OpenWindow[]
  /** What holds the oldest open window; null where none is open. */
  waiting: Waiting | null
  partitions: PartitionNow[]
  workflow: string | null
}

/** Which partitions have to reach which event time before a window goes on. */
export interface Waiting {
  until: number
  /** The first of them. */
  partitions: number[]
  count: number
}

export interface OpenWindow {
  start: number
  end: number
  /** When the clock lets it close. */
  due: number
  state: 'opening' | 'open' | 'published' | 'closing' | 'closed' | 'unknown'
  /** Why Postgres does not take a step of it. */
  stuck: Stuck | null
  /** Null where its workflow does not answer. */
  hits: number | null
  groups: number | null
  workflow: string | null
}

export interface PartitionNow {
  partition: number
  poller: number
  position: number
  watermark: number | null
  idle: boolean
  records: number
  hits: number
  late: number
  rejected: number
}

export interface ResultsNow {
  /** Newest first. */
  newest: WindowSummary[]
  rejected: { reason: string; records: number }[]
}
