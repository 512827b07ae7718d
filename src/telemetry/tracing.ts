import type { WorkflowClientInterceptor } from '@temporalio/client'
import { logger } from '../log'
import type { Endpoint, Note, TracedWorker, Tracing } from './opentelemetry'

let tracing: Tracing | undefined

/** Starts tracing if OpenTelemetry's variables name an endpoint. Otherwise OpenTelemetry is never loaded. */
export async function beginTracing(): Promise<void> {
  const endpoint = endpointOf(process.env)
  if (!endpoint) return
  const { openTelemetry } = await import('./opentelemetry.js')
  tracing = openTelemetry(endpoint)
}

/** False if spans could not be delivered in time. */
export async function endTracing(): Promise<boolean> {
  return (await tracing?.end()) ?? true
}

/**
 * Runs `run` as the root of a trace.
 *
 * @param run receives a function that adds attributes to its span, or nothing if tracing is off
 */
export function traced<T>(name: string, run: (note?: Note) => Promise<T>): Promise<T> {
  return tracing ? tracing.root(name, run) : run()
}

export function clientTracing(): WorkflowClientInterceptor[] {
  return tracing?.client ?? []
}

/** Without tracing the sink ignores the spans of workflows. */
export function workerTracing(): TracedWorker {
  return tracing?.worker ?? { interceptors: {}, sinks: { tracing: { ended: { fn: () => undefined } } } }
}

/** Undefined if tracing is off. An unusable setting turns it off with a warning. */
function endpointOf(environment: NodeJS.ProcessEnv): Endpoint | undefined {
  const either = (name: string) =>
    environment[`OTEL_EXPORTER_OTLP_TRACES_${name}`] || environment[`OTEL_EXPORTER_OTLP_${name}`]
  const address = either('ENDPOINT')
  const { OTEL_SDK_DISABLED: disabled, OTEL_TRACES_EXPORTER: exporter } = environment
  if (!address || disabled?.toLowerCase() === 'true' || (exporter || 'otlp') !== 'otlp') return undefined
  const protocol = either('PROTOCOL') || 'http/protobuf'
  if (protocol !== 'http/protobuf' && protocol !== 'http/json') {
    logger.warn(
      `No traces: OTEL_EXPORTER_OTLP_PROTOCOL is "${protocol}". Set it to http/protobuf or http/json, with a matching endpoint.`,
    )
    return undefined
  }
  if (URL.canParse(address) && /^https?:$/.test(new URL(address).protocol))
    return { url: new URL(address), protocol }
  logger.warn('No traces: OTEL_EXPORTER_OTLP_ENDPOINT is not a URL such as http://localhost:4318.')
  return undefined
}
