import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace,
  type Context,
  type Span,
} from '@opentelemetry/api'
import type { WorkflowClientInterceptor } from '@temporalio/client'
import { defaultPayloadConverter, type Headers } from '@temporalio/common'
import type { ActivityInterceptorsFactory, InjectedSinks } from '@temporalio/worker'
import { LRUCache } from 'lru-cache'
import { TRACE_HEADER, type TracingSinks } from '../contract/tracing'
import { tracer, withSpan, type SpanIds } from './spans'

// Names and attributes are those of Temporal's own OpenTelemetry interceptors. Queries have no spans: they run every
// second and change nothing.
const WORKFLOW_ID = 'temporalWorkflowId'
const RUN_ID = 'run_id'

export const clientInterceptor: WorkflowClientInterceptor = {
  startWithDetails: (input, next) =>
    withCallSpan(`StartWorkflow:${input.workflowType}`, input.options.workflowId, async span => {
      const started = await next(withContext(input))
      span.setAttribute(RUN_ID, started.runId)
      return started
    }),
  signalWithStart: (input, next) =>
    withCallSpan(`SignalWithStartWorkflow:${input.workflowType}`, input.options.workflowId, async span => {
      const runId = await next(withContext(input))
      span.setAttribute(RUN_ID, runId)
      return runId
    }),
  signal: (input, next) =>
    withCallSpan(`SignalWorkflow:${input.signalName}`, input.workflowExecution.workflowId, () =>
      next(withContext(input)),
    ),
  startUpdate: (input, next) =>
    withCallSpan(
      `StartWorkflowUpdate:${input.updateName}`,
      input.workflowExecution.workflowId,
      async span => {
        const update = await next(withContext(input))
        span.setAttribute(RUN_ID, update.workflowRunId)
        return update
      },
    ),
}

function withCallSpan<T>(name: string, workflowId: string, run: (span: Span) => Promise<T>): Promise<T> {
  return withSpan(name, { attributes: { [WORKFLOW_ID]: workflowId } }, context.active(), run)
}

/** A span per attempt of an activity, except for pollKafka: it runs for months, and each of its flushes is a trace. */
export const activityInterceptor: ActivityInterceptorsFactory = ({ info }) => ({
  inbound: {
    execute(input, next) {
      const { activityType, activityId, attempt, workflowExecution } = info
      if (activityType === 'pollKafka') return next(input)
      const attributes = {
        temporalActivityId: activityId,
        temporalActivityAttempt: attempt,
        ...(workflowExecution && {
          [WORKFLOW_ID]: workflowExecution.workflowId,
          [RUN_ID]: workflowExecution.runId,
        }),
      }
      return withSpan(`RunActivity:${activityType}`, { attributes }, contextOf(input.headers), () =>
        next(input),
      )
    },
  },
})

/** Creates the spans that workflows report, because OpenTelemetry does not run in the workflow sandbox. */
export function workflowSpans(ids: SpanIds): InjectedSinks<TracingSinks> {
  // A run reports its end again if the server refused the completion because of a new signal.
  const ended = new LRUCache<string, true>({ max: 1_000 })
  return {
    tracing: {
      ended: {
        fn({ workflowId, runId }, { name, id, parent, links = [], start, end, failed }) {
          if (id !== undefined && ended.has(id)) return
          if (id !== undefined) ended.set(id, true)
          const options = {
            attributes: { [WORKFLOW_ID]: workflowId, [RUN_ID]: runId },
            links: links.flatMap(({ signal, traceparent }) => {
              const sender = trace.getSpanContext(contextFrom(traceparent))
              return sender ? [{ context: sender, attributes: { signal } }] : []
            }),
            startTime: start,
          }
          const span = ids.use(id, () => tracer.startSpan(name, options, contextFrom(parent)))
          if (failed) span.setStatus({ code: SpanStatusCode.ERROR })
          span.end(end)
        },
      },
    },
  }
}

function withContext<Input extends { headers: Headers }>(input: Input): Input {
  const carrier = {}
  propagation.inject(context.active(), carrier)
  return {
    ...input,
    headers: { ...input.headers, [TRACE_HEADER]: defaultPayloadConverter.toPayload(carrier) },
  }
}

function contextOf({ [TRACE_HEADER]: header }: Headers): Context {
  if (!header) return ROOT_CONTEXT
  return propagation.extract(ROOT_CONTEXT, defaultPayloadConverter.fromPayload(header))
}

function contextFrom(traceparent: string): Context {
  return propagation.extract(ROOT_CONTEXT, { traceparent })
}
