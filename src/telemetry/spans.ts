import { SpanStatusCode, trace, type Context, type Span, type SpanOptions } from '@opentelemetry/api'
import { ApplicationFailure } from '@temporalio/common'

export const tracer = trace.getTracer('web-traffic')

/** Runs `run` in a span that ends with it. */
export function withSpan<T>(
  name: string,
  options: SpanOptions,
  parent: Context,
  run: (span: Span) => Promise<T>,
): Promise<T> {
  return tracer.startActiveSpan(name, options, parent, async span => {
    try {
      return await run(span)
    } catch (error) {
      // Never the message, which may contain anything.
      const type = error instanceof ApplicationFailure ? error.type : undefined
      span.setAttribute('error.type', type || (error instanceof Error ? error.name : 'Error'))
      span.setStatus({ code: SpanStatusCode.ERROR })
      throw error
    } finally {
      span.end()
    }
  })
}
