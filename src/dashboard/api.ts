/** What the server sends to the page, as JSON. Times are epoch milliseconds, UTC. */

import type { WindowProgress } from '../contract/messages'
import type { PipelineSettings } from '../core/settings'
import type { Interval } from '../core/window/periods'
import type { RangeTotals } from '../core/window/protocol'

/** A stretch of event time in buckets of equal length. */
export interface TimeRange extends Interval {
  /** Length of a bucket in milliseconds, a multiple of the window size. */
  bucket: number
  /** Of the newest window. */
  windowSize: number
}

export interface Timeline {
  /** Null if no window in the requested range has a result. */
  range: TimeRange | null
  hits: number
  /** The most frequent hosts of the range, most hits first, regardless of the selected host. */
  hosts: Ranked[]
  hostCount: number
  /** The selected host, or the most frequent hosts and the rest. */
  series: Series[]
}

export interface Series {
  /** Null for all hosts without their own series. */
  host: string | null
  /** One number per bucket. */
  hits: number[]
}

export interface Ranked {
  name: string
  hits: number
}

/** The most frequent names, and the totals over all names. */
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
  /** Whether there are older windows than these. */
  older: boolean
}

export interface WindowDetail {
  start: number
  /** URL of its workflow in the Temporal Web UI; null if the Web UI's address is unknown. */
  workflow: string | null
  /** Null if the window has no result yet, or had no events. */
  result: WindowResult | null
}

export interface WindowResult extends WindowSummary {
  hosts: Ranking
  referrers: Ranking
  countries: Ranking
  /** The first and last offset read from each partition. */
  read: { partition: number; from: number; last: number }[]
}

/** The latest state of a source that the server polls. */
export interface Polled<T> {
  /** The last answer; null before the first. */
  value: T | null
  /** Time of the last answer. */
  at: number | null
  /** A sentence; null if the last attempt succeeded. */
  problem: string | null
}

/** The event that every viewer receives. */
export interface LiveStatus {
  at: number
  pipeline: Polled<PipelineSummary>
  /** The end offset of each partition in Kafka. */
  kafka: Polled<Record<number, number>>
  results: Polled<RecentResults>
}

export interface PipelineSummary extends Pick<PipelineSettings, 'group' | 'topic' | 'windowSize'> {
  state: 'running' | 'stopped' | 'paused' | 'draining'
  /** Windows closed since the pipeline was started. */
  closed: number
  /** The first few windows that should be closed and are not, a sentence each. */
  unsettled: string[]
  unsettledCount: number
  /** Open windows, and the closing ones in `open`. */
  openCount: number
  /** Closing windows, then the oldest and newest open ones. */
  open: OpenWindow[]
  /** What the oldest open window waits for; null if no window is open. */
  waiting: Waiting | null
  partitions: PartitionSummary[]
}

/** The partitions that have to reach an event time before a window can close. */
export interface Waiting {
  until: number
  /** The first few. */
  partitions: number[]
  count: number
}

export interface OpenWindow {
  start: number
  end: number
  /** The earliest time at which the window can close. */
  due: number
  /** Null if its workflow does not answer. */
  progress: WindowProgress | null
  workflow: string | null
}

export interface PartitionSummary extends RangeTotals {
  partition: number
  poller: number
  position: number
  watermark: number | null
  idle: boolean
}

export interface RecentResults {
  /** Newest first. */
  newest: WindowSummary[]
  rejected: { reason: string; records: number }[]
}
