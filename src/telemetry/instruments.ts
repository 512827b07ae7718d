import type { MetricCounter, MetricMeter, MetricTags } from '@temporalio/common'

/** Names without the prefix `web_traffic_`, with descriptions and, for labelled counters, the known label values. */
export type CounterDefinitions<Name extends string> = Record<Name, [description: string, tags?: MetricTags[]]>

/** Creates counters that start at 0 for every known label value: Prometheus sees no increase in a series that starts above 0. */
export function createCounters<Name extends string>(
  meter: MetricMeter,
  definitions: CounterDefinitions<Name>,
): Record<Name, MetricCounter> {
  const entries = Object.entries<[string, MetricTags[]?]>(definitions)
  const counters = entries.map(([name, [description, tags = [{}]]]) => {
    const counter = meter.createCounter(`web_traffic_${name}`, undefined, description)
    for (const known of tags) counter.add(0, known)
    return [name, counter]
  })
  return Object.fromEntries(counters) as Record<Name, MetricCounter>
}

export function label(name: string, values: readonly string[]): MetricTags[] {
  return values.map(value => ({ [name]: value }))
}
