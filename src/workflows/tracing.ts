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
 * Hands the trace on that a workflow's messages came with: nothing of OpenTelemetry is in the bundle. Whether or not
 * there is a trace, every call goes through in the same step of the same promise, so that histories replay with
 * tracing on or off, and with either for a part of them.
 */

const { tracing } = proxySinks<TracingSinks>()

/** They run for as long as the pipeline: their runs are no part of a trace but for the one that somebody started. */
const LASTING = new Set(['ingest', 'poller'])
/** `version-trace-span-flags` */
const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
/** Links of a run at most: the newest. */
const MAX_LINKS = 100

export const interceptors: WorkflowInterceptorsFactory = () => {
  const run = new TracedRun()
  return {
    inbound: [
      {
        execute(input, next) {
          run.begins(traceparentOf(input.headers))
          const result = next(input)
          // Beside the promise that the SDK goes on with, which is settled no later for it.
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
  /** The same whoever replays it. */
  private readonly id = workflowInfo().runId.replaceAll('-', '').slice(-16)
  private parent: string | undefined
  /** What the workflow does now comes of this. */
  private cause: string | undefined
  private links: { signal: string; traceparent: string }[] = []

  begins(parent: string | undefined): void {
    this.adopt(parent)
    if (this.lasting) this.report(Date.now())
  }

  /** @param failed continuing as new is no failure */
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

/** Undefined also where it is not understood: no trace is worth a workflow's task. */
function traceparentOf({ [TRACE_HEADER]: trace }: Headers): string | undefined {
  if (!trace) return undefined
  try {
    const { traceparent } = defaultPayloadConverter.fromPayload<{ traceparent?: string }>(trace)
    return traceparent !== undefined && TRACEPARENT.test(traceparent) ? traceparent : undefined
  } catch {
    return undefined
  }
}
