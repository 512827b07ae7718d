import type { Sinks } from '@temporalio/workflow'

/** The header of Temporal's tracing interceptors: an object with a W3C `traceparent`. */
export const TRACE_HEADER = '_tracer-data'

/** A span for a tracing worker to export. */
export interface WorkflowSpan {
  name: string
  /** 16 hexadecimal digits; random if absent. */
  id?: string
  /** The `traceparent` of its parent. */
  parent: string
  /** Signals from other traces. */
  links?: { signal: string; traceparent: string }[]
  /** Server time, epoch ms. */
  start: number
  end: number
  failed?: boolean
}

export interface TracingSinks extends Sinks {
  tracing: { ended(span: WorkflowSpan): void }
}
