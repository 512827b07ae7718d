import type { Sinks } from '@temporalio/workflow'

/** The header of Temporal's own tracing interceptors: an object with `traceparent`, as W3C Trace Context has it. */
export const TRACE_HEADER = '_tracer-data'

/** What a worker that traces makes a span of. */
export interface WorkflowSpan {
  name: string
  /** 16 hexadecimal digits; any where it is absent. */
  id?: string
  /** The `traceparent` of its parent. */
  parent: string
  /** Signals that came from other traces. */
  links?: { signal: string; traceparent: string }[]
  /** By the server's clock, epoch ms. */
  start: number
  end: number
  failed?: boolean
}

export interface TracingSinks extends Sinks {
  tracing: { ended(span: WorkflowSpan): void }
}
