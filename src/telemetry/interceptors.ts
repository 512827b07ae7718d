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
import type { SpanIds } from './span-ids'
import { tracer, within } from './spans'
import { TRACE_HEADER, type TracingSinks } from '../contract/tracing'

/*
 * Names and attributes are those of Temporal's own interceptors for OpenTelemetry, so that what knows those knows these.
 * Queries have no spans: they are asked every second, and change nothing.
 */
const WORKFLOW_ID = 'temporalWorkflowId'
const RUN_ID = 'run_id'
/** Runs whose end is known to have been told. */
const REMEMBERED = 1_000

/** Calls by which something starts, or is told something. */
export const clientInterceptor: WorkflowClientInterceptor = {
  startWithDetails: (input, next) =>
    calling(`StartWorkflow:${input.workflowType}`, input.options.workflowId, async span => {
      const started = await next({ ...input, headers: withContext(input.headers) })
      span.setAttribute(RUN_ID, started.runId)
      return started
    }),
  signalWithStart: (input, next) =>
    calling(`SignalWithStartWorkflow:${input.workflowType}`, input.options.workflowId, async span => {
      const runId = await next({ ...input, headers: withContext(input.headers) })
      span.setAttribute(RUN_ID, runId)
      return runId
    }),
  signal: (input, next) =>
    calling(`SignalWorkflow:${input.signalName}`, input.workflowExecution.workflowId, () =>
      next({ ...input, headers: withContext(input.headers) }),
    ),
  startUpdate: (input, next) =>
    calling(`StartWorkflowUpdate:${input.updateName}`, input.workflowExecution.workflowId, async span => {
      const update = await next({ ...input, headers: withContext(input.headers) })
      span.setAttribute(RUN_ID, update.workflowRunId)
      return update
    }),
}

function calling<T>(name: string, workflowId: string, run: (span: Span) => Promise<T>): Promise<T> {
  return within(name, { attributes: { [WORKFLOW_ID]: workflowId } }, context.active(), run)
}

/** An attempt of an activity; but not reading Kafka, which goes on for months: each of its flushes is a trace. */
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
      return within(`RunActivity:${activityType}`, { attributes }, contextOf(input.headers), () =>
        next(input),
      )
    },
  },
})

/** Spans of what happened in workflows, where nothing of OpenTelemetry is. */
export function workflowSpans(ids: SpanIds): InjectedSinks<TracingSinks> {
  const ended = new Set<string>()
  /** A run's end is told again where the server did not take it, because one more signal had come. */
  const isRepeat = (id: string | undefined) => {
    if (id === undefined || ended.has(id)) return id !== undefined
    ended.add(id)
    for (const oldest of ended) if (ended.size > REMEMBERED) ended.delete(oldest)
    return false
  }
  return {
    tracing: {
      ended: {
        fn({ workflowId, runId }, { name, id, parent, links = [], start, end, failed }) {
          if (isRepeat(id)) return
          const options = {
            attributes: { [WORKFLOW_ID]: workflowId, [RUN_ID]: runId },
            links: links.flatMap(({ signal, traceparent }) => {
              const sender = trace.getSpanContext(contextFrom(traceparent))
              return sender ? [{ context: sender, attributes: { signal } }] : []
            }),
            startTime: start,
          }
          const span = ids.next(id, () => tracer.startSpan(name, options, contextFrom(parent)))
          if (failed) span.setStatus({ code: SpanStatusCode.ERROR })
          span.end(end)
        },
      },
    },
  }
}

function withContext(headers: Headers): Headers {
  const carrier = {}
  propagation.inject(context.active(), carrier)
  return { ...headers, [TRACE_HEADER]: defaultPayloadConverter.toPayload(carrier) }
}

function contextOf({ [TRACE_HEADER]: header }: Headers): Context {
  if (!header) return ROOT_CONTEXT
  return propagation.extract(ROOT_CONTEXT, defaultPayloadConverter.fromPayload(header))
}

function contextFrom(traceparent: string): Context {
  return propagation.extract(ROOT_CONTEXT, { traceparent })
}
