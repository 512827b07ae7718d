import { SpanStatusCode, trace, type Context, type Span, type SpanOptions } from '@opentelemetry/api'
import { RandomIdGenerator, type IdGenerator } from '@opentelemetry/sdk-trace-node'
import { ApplicationFailure } from '@temporalio/common'

export const tracer = trace.getTracer('web-traffic')

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

/** Random ids, except for the spans of workflow runs, whose id other spans use before the span itself exists. */
export class SpanIds implements IdGenerator {
  private readonly random = new RandomIdGenerator()
  private nextId: string | undefined

  generateTraceId(): string {
    return this.random.generateTraceId()
  }

  generateSpanId(): string {
    return this.nextId ?? this.random.generateSpanId()
  }

  /** @param id 16 hexadecimal digits for the span that `start` starts; undefined for a random one */
  use<T>(id: string | undefined, start: () => T): T {
    this.nextId = id
    try {
      return start()
    } finally {
      this.nextId = undefined
    }
  }
}
