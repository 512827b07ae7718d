import { defaultPayloadConverter } from '@temporalio/common'
import {
  ContinueAsNew,
  proxySinks,
  workflowInfo,
  type Headers,
  type WorkflowInterceptorsFactory,
} from '@temporalio/workflow'
import { TRACE_HEADER, type TracingSinks } from '../contract/tracing'

/*
 * Propagates the trace context of a workflow's messages, without OpenTelemetry in the bundle. Every call passes in the
 * same step of the same promise with or without a trace, so histories replay whether tracing was on, off, or switched.
 */

const { tracing } = proxySinks<TracingSinks>()

/** Workflows that run as long as the pipeline: only the first run belongs to the trace that started it. */
const LASTING = new Set(['ingest', 'poller'])
/** `version-trace-span-flags` */
const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
/** A run keeps the newest links. */
const MAX_LINKS = 100

export const interceptors: WorkflowInterceptorsFactory = () => {
  const run = new TracedRun()
  return {
    inbound: [
      {
        execute(input, next) {
          run.begins(traceparentOf(input.headers))
          const result = next(input)
          // A side branch: it does not delay the promise that the SDK awaits.
          result.then(
            () => run.ends(false),
            error => run.ends(!(error instanceof ContinueAsNew)),
          )
          return result
        },
        handleSignal(input, next) {
          run.receives(input.signalName, traceparentOf(input.headers))
          return next(input)
        },
        handleUpdate(input, next) {
          run.updates(input.name, traceparentOf(input.headers))
          return next(input)
        },
      },
    ],
    outbound: [
      {
        scheduleActivity: (input, next) => next(run.withTrace(input)),
        startChildWorkflowExecution: (input, next) => next(run.withTrace(input)),
        signalWorkflow: (input, next) => next(run.withTrace(input)),
        continueAsNew: (input, next) => next(run.lasting ? input : run.withTrace(input)),
      },
    ],
  }
}

class TracedRun {
  readonly lasting = LASTING.has(workflowInfo().workflowType)
  /** Derived from the run id, so that a replay has the same. */
  private readonly id = workflowInfo().runId.replaceAll('-', '').slice(-16)
  private parent: string | undefined
  /** The parent of the calls that the workflow makes now. */
  private cause: string | undefined
  private links: { signal: string; traceparent: string }[] = []

  begins(parent: string | undefined): void {
    this.adopt(parent)
    if (this.lasting) this.report(Date.now())
  }

  /** @param failed false if the run continued as new */
  ends(failed: boolean): void {
    if (!this.lasting) this.report(workflowInfo().runStartTime.getTime(), failed)
  }

  receives(signal: string, traceparent: string | undefined): void {
    if (this.lasting) this.cause = traceparent
    else if (!this.parent) this.adopt(traceparent)
    else if (traceparent && traceparent !== this.parent) {
      this.links.push({ signal, traceparent })
      if (this.links.length > MAX_LINKS) this.links.shift()
    }
  }

  updates(update: string, traceparent: string | undefined): void {
    if (this.lasting) this.cause = traceparent
    const now = Date.now()
    if (traceparent)
      tracing.ended({ name: `HandleUpdate:${update}`, parent: traceparent, start: now, end: now })
  }

  withTrace<Input extends { headers: Headers }>(input: Input): Input {
    if (!this.cause) return input
    const trace = defaultPayloadConverter.toPayload({ traceparent: this.cause })
    return { ...input, headers: { ...input.headers, [TRACE_HEADER]: trace } }
  }

  private adopt(parent: string | undefined): void {
    this.parent = parent
    this.cause = parent?.replace(/[0-9a-f]{16}(?=-..$)/, this.id)
  }

  private report(start: number, failed = false): void {
    const { id, parent, links } = this
    const name = `RunWorkflow:${workflowInfo().workflowType}`
    if (parent) tracing.ended({ name, id, parent, links, start, end: Date.now(), failed })
  }
}

/** Undefined if malformed: a bad header must not fail a workflow task. */
function traceparentOf({ [TRACE_HEADER]: trace }: Headers): string | undefined {
  if (!trace) return undefined
  try {
    const { traceparent } = defaultPayloadConverter.fromPayload<{ traceparent?: string }>(trace)
    return traceparent !== undefined && TRACEPARENT.test(traceparent) ? traceparent : undefined
  } catch {
    return undefined
  }
}
