import type { Point } from './points'
import type { Sizes } from './sizes'

/** What is known about a finished point; a line of the results file. */
export interface PointResult {
  point: Point
  /** One line each; empty if everything is right. */
  problems: string[]
  seconds: number
  /** Seconds until the pipeline had started, all was in Postgres, all was compared, and all histories were read. */
  phases: Record<Phase, number>
  /** When the disturbance struck; null if there was none. */
  struck: string | null
  records: number
  topicBytes: number
  hits: number
  late: number
  rejected: number
  windows: number
  /** Groups of host, referrer and country, summed over all windows. */
  groups: number
  /** Windows with more groups than MAX_GROUPS lets keep their name. */
  folded: number
  /** Repeated deltas that windows dropped. */
  repeats: number
  sizes: Sizes
  /** The output of `status --json` if anything was wrong. */
  status?: unknown
}

export type Phase = 'started' | 'settled' | 'compared' | 'measured'
