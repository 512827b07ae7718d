import type { MetricCounter, MetricGauge, MetricHistogram, MetricMeter, MetricTags } from '@temporalio/common'

/** Keeps the sum of each counter, the last value of each gauge, and every value of each histogram. */
export class MemoryMeter implements MetricMeter {
  private readonly values = new Map<string, number>()
  private readonly recorded = new Map<string, number[]>()

  /** The value of a counter or gauge; undefined if it was never set. */
  value(name: string, tags: MetricTags = {}): number | undefined {
    return this.values.get(key(name, tags))
  }

  /** The values of a histogram. */
  records(name: string, tags: MetricTags = {}): number[] {
    return this.recorded.get(key(name, tags)) ?? []
  }

  createCounter(name: string): MetricCounter {
    const add = (value: number, tags: MetricTags = {}) => {
      if (!(value >= 0)) throw new RangeError(`${name} would decrease by ${-value}`)
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
  throw new Error('not implemented: tags on the meter itself')
}
