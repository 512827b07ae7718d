import type { MetricCounter, MetricGauge, MetricHistogram, MetricMeter, MetricTags } from '@temporalio/common'

/** Keeps what is measured: the sum of a counter, the last value of a gauge, every value of a histogram. */
export class MemoryMeter implements MetricMeter {
  private readonly values = new Map<string, number>()
  private readonly recorded = new Map<string, number[]>()

  /** Of a counter or gauge; undefined where it was never said. */
  value(name: string, tags: MetricTags = {}): number | undefined {
    return this.values.get(key(name, tags))
  }

  /** Of a histogram. */
  records(name: string, tags: MetricTags = {}): number[] {
    return this.recorded.get(key(name, tags)) ?? []
  }

  createCounter(name: string): MetricCounter {
    const add = (value: number, tags: MetricTags = {}) => {
      if (!(value >= 0)) throw new RangeError(`${name} was to fall by ${-value}`)
      this.values.set(key(name, tags), (this.value(name, tags) ?? 0) + value)
    }
    return { name, kind: 'counter', valueType: 'int', add, withTags: untagged }
  }

  createGauge(name: string): MetricGauge {
    const set = (value: number, tags: MetricTags = {}) => void this.values.set(key(name, tags), value)
    return { name, kind: 'gauge', valueType: 'float', set, withTags: untagged }
  }

  createHistogram(name: string): MetricHistogram {
    const record = (value: number, tags: MetricTags = {}) =>
      void this.recorded.set(key(name, tags), [...this.records(name, tags), value])
    return { name, kind: 'histogram', valueType: 'float', record, withTags: untagged }
  }

  withTags(): MetricMeter {
    return untagged()
  }
}

function key(name: string, tags: MetricTags): string {
  return JSON.stringify([name, ...Object.entries(tags).sort(([a], [b]) => (a < b ? -1 : 1))])
}

function untagged(): never {
  throw new Error('nothing here has tags of its own')
}
