import { lookup } from 'node:dns/promises'
import { isIPv6 } from 'node:net'
import type { TelemetryOptions } from '@temporalio/worker'
import { messageOf, UserError } from '../errors'

export interface ListenAddress {
  host: string
  port: number
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const COUNTS = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]

const BUCKETS: Record<string, number[]> = {
  web_traffic_flush_duration: SECONDS,
  web_traffic_flush_size: [1_000, 10_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000],
  web_traffic_flush_records: COUNTS,
  web_traffic_flush_windows: [1, 2, 5, 10, 50, 100, 500, 1_000],
  web_traffic_lookup_wait: SECONDS,
  web_traffic_step_duration: SECONDS,
  web_traffic_window_rows: COUNTS,
  web_traffic_window_close_delay: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400],
}

/**
 * Options for the SDK's Prometheus server (`GET /metrics`). It appends `_total` to counters and the unit to histograms.
 *
 * @throws UserError if the host cannot be resolved
 */
export async function metricsExporter(
  address: ListenAddress | undefined,
  pipeline: string,
): Promise<Pick<TelemetryOptions, 'metrics'>> {
  if (!address) return {}
  return {
    metrics: {
      prometheus: {
        bindAddress: await socketAddress(address),
        countersTotalSuffix: true,
        unitSuffix: true,
        useSecondsForDurations: true,
        histogramBucketOverrides: BUCKETS,
      },
      globalTags: { pipeline },
      // It would be the same on every sample of a process.
      attachServiceName: false,
    },
  }
}

/** The SDK accepts no host names. */
async function socketAddress({ host, port }: ListenAddress): Promise<string> {
  const { address } = await lookup(host).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException
    throw new UserError(`METRICS_ADDRESS: ${host} cannot be resolved (${code}): set another address.`)
  })
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
}

/** The UserError if the SDK could not start its Prometheus server; otherwise the error itself. */
export function explainExporterFailure({ host, port }: ListenAddress, error: unknown): unknown {
  const reason = messageOf(error)
  if (!/prometheus/i.test(reason)) return error
  const cause = reason.replace(/^Failed to start prometheus metrics exporter: /, '')
  return new UserError(`METRICS_ADDRESS: cannot listen on ${host}:${port} (${cause}): set another address.`)
}
