import { RandomIdGenerator, type IdGenerator } from '@opentelemetry/sdk-trace-node'

/** Random ids; but a workflow's run has handed out the id of its span long before the span is made. */
export class SpanIds implements IdGenerator {
  private readonly random = new RandomIdGenerator()
  private given: string | undefined

  generateTraceId(): string {
    return this.random.generateTraceId()
  }

  generateSpanId(): string {
    return this.given ?? this.random.generateSpanId()
  }

  /** @param id of the span that `make` starts, 16 hexadecimal digits; random where it is undefined */
  next<T>(id: string | undefined, make: () => T): T {
    this.given = id
    try {
      return make()
    } finally {
      this.given = undefined
    }
  }
}
