import type { WorkflowClientInterceptor } from '@temporalio/client'
import { logger } from '../log'
import type { Endpoint, Note, TracedWorker, Tracing } from './tracing-port'

/*
 * Where nobody asked for traces, nothing of OpenTelemetry is loaded, and this is all that there is: whatever imports it
 * is in opentelemetry.ts, which is loaded by need.
 */

let tracing: Tracing | undefined

/** Begins to trace where the environment asks for it, by OpenTelemetry's own variables. */
export async function beginTracing(): Promise<void> {
  const endpoint = askedFor(process.env)
  if (!endpoint) return
  const { openTelemetry } = await import('./opentelemetry.js')
  tracing = openTelemetry(endpoint)
}

/** False where spans were left behind, on which nobody waits any longer. */
export async function endTracing(): Promise<boolean> {
  return (await tracing?.end()) ?? true
}

/**
 * Runs `run` as the root of a trace.
 *
 * @param run is given what adds to its span, or nothing where nobody traces
 */
export function traced<T>(name: string, run: (note?: Note) => Promise<T>): Promise<T> {
  return tracing ? tracing.root(name, run) : run()
}

export function clientTracing(): WorkflowClientInterceptor[] {
  return tracing?.client ?? []
}

/** Of a worker; one that does not trace takes no notice of what workflows say of theirs. */
export function workerTracing(): TracedWorker {
  return tracing?.worker ?? { interceptors: {}, sinks: { tracing: { ended: { fn: () => undefined } } } }
}

/** Undefined where it is not, or cannot be, in which case a line says why: no trace is worth a pipeline. */
function askedFor(environment: NodeJS.ProcessEnv): Endpoint | undefined {
  const either = (name: string) =>
    environment[`OTEL_EXPORTER_OTLP_TRACES_${name}`] || environment[`OTEL_EXPORTER_OTLP_${name}`]
  const address = either('ENDPOINT')
  const { OTEL_SDK_DISABLED: disabled, OTEL_TRACES_EXPORTER: exporter } = environment
  if (!address || disabled?.toLowerCase() === 'true' || (exporter || 'otlp') !== 'otlp') return undefined
  const protocol = either('PROTOCOL') || 'http/protobuf'
  if (protocol !== 'http/protobuf' && protocol !== 'http/json') {
    logger.warn(
      `No traces: OTEL_EXPORTER_OTLP_PROTOCOL is "${protocol}"; set http/protobuf or http/json, and the endpoint for it.`,
    )
    return undefined
  }
  if (URL.canParse(address) && /^https?:$/.test(new URL(address).protocol))
    return { url: new URL(address), protocol }
  logger.warn('No traces: OTEL_EXPORTER_OTLP_ENDPOINT is not a URL such as http://localhost:4318.')
  return undefined
}
