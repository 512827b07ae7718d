import type { WorkflowClientInterceptor } from '@temporalio/client'
import type { InjectedSinks, WorkerInterceptors } from '@temporalio/worker'
import type { TracingSinks } from '../contract/tracing'

export type Attributes = Record<string, string | number | number[]>

/** Adds to a span. */
export type Note = (attributes: Attributes) => void

/** What a process that traces adds to its calls and to its work. */
export interface Tracing {
  /** Of the calls by which something starts or is told something. */
  client: WorkflowClientInterceptor[]
  worker: TracedWorker
  /** Runs `run` as the root of a trace, which `note` adds to. */
  root<T>(name: string, run: (note: Note) => Promise<T>): Promise<T>
  /** Delivers what there is within a few seconds; false where that was not enough. */
  end(): Promise<boolean>
}

export interface TracedWorker {
  interceptors: Pick<WorkerInterceptors, 'client' | 'activity'>
  sinks: InjectedSinks<TracingSinks>
}

/** Where spans are sent to. */
export interface Endpoint {
  url: URL
  protocol: 'http/protobuf' | 'http/json'
}
