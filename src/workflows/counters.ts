import { metricMeter } from '@temporalio/workflow'

/*
 * Prometheus counters for what no activity sees. They add nothing to the history, and a replay does not count again.
 * src/telemetry/step-metrics.ts starts the same names at 0.
 */

/** Counts a delta that a window dropped. */
export function drop(verdict: 'repeat' | 'overlap'): void {
  if (verdict === 'repeat') metricMeter.createCounter('web_traffic_repeats').add(1, { of: 'delta' })
  else metricMeter.createCounter('web_traffic_overlaps').add(1)
}

/** Counts a signal to a workflow that has ended. */
export function signalUnheard(signal: string): void {
  metricMeter.createCounter('web_traffic_unheard_signals').add(1, { signal })
}
