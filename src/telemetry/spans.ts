import { SpanStatusCode, trace, type Context, type Span, type SpanOptions } from '@opentelemetry/api'
import { ApplicationFailure } from '@temporalio/common'

/** Every span of the pipeline is made by it. */
export const tracer = trace.getTracer('web-traffic')

/** Runs `run` within a span, which ends with it. */
export function within<T>(
  name: string,
  options: SpanOptions,
  parent: Context,
  run: (span: Span) => Promise<T>,
): Promise<T> {
  return tracer.startActiveSpan(name, options, parent, async span => {
    try {
      return await run(span)
    } catch (error) {
      fail(span, error)
      throw error
    } finally {
      span.end()
    }
  })
}

/** Of an error only its kind is said: its message may be anything. */
function fail(span: Span, error: unknown): void {
  const type = error instanceof ApplicationFailure ? error.type : undefined
  span.setAttribute('error.type', type || (error instanceof Error ? error.name : 'Error'))
  span.setStatus({ code: SpanStatusCode.ERROR })
}
