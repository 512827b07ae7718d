import { RandomIdGenerator, type IdGenerator } from '@opentelemetry/sdk-trace-node'

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
