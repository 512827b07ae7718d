import type { WorkflowClientInterceptor } from '@temporalio/client'
import type { InjectedSinks, WorkerInterceptors } from '@temporalio/worker'
import type { TracingSinks } from '../contract/tracing'

export type Attributes = Record<string, string | number | number[]>

/** Adds attributes to a span. */
export type Note = (attributes: Attributes) => void

/** What tracing adds to a process. */
export interface Tracing {
  client: WorkflowClientInterceptor[]
  worker: TracedWorker
  /** Runs `run` as the root of a trace. */
  root<T>(name: string, run: (note: Note) => Promise<T>): Promise<T>
  /** Delivers the pending spans; false if that did not succeed within two seconds. */
  end(): Promise<boolean>
}

export interface TracedWorker {
  interceptors: Pick<WorkerInterceptors, 'client' | 'activity'>
  sinks: InjectedSinks<TracingSinks>
}

/** Where to send spans. */
export interface Endpoint {
  url: URL
  protocol: 'http/protobuf' | 'http/json'
}
