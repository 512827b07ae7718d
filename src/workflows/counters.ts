import { metricMeter } from '@temporalio/workflow'

/*
 * What a workflow counts for Prometheus, where no activity sees it. It leaves no history, and a replay counts nothing
 * again. The names are those of the worker's own metrics (src/telemetry/step-metrics.ts), which begin them at 0.
 */

/** A delta that a window was sent and did not count. */
export function drop(verdict: 'repeat' | 'overlap'): void {
  if (verdict === 'repeat') metricMeter.createCounter('web_traffic_repeats').add(1, { of: 'delta' })
  else metricMeter.createCounter('web_traffic_overlaps').add(1)
}

/** A signal to a window or poller that has ended. */
export function signalUnheard(signal: string): void {
  metricMeter.createCounter('web_traffic_unheard_signals').add(1, { signal })
}
