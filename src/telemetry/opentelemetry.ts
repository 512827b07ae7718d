import { setTimeout as sleep } from 'node:timers/promises'
import { diag, DiagLogLevel, ROOT_CONTEXT, type Span } from '@opentelemetry/api'
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import {
  detectResources,
  envDetector,
  resourceFromAttributes,
  serviceInstanceIdDetector,
} from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import { logger } from '../log'
import { activityInterceptor, clientInterceptor, workflowSpans } from './interceptors'
import { SpanIds, withSpan } from './spans'

export type Attributes = Record<string, string | number | number[]>

export type Note = (attributes: Attributes) => void

export interface Endpoint {
  url: URL
  protocol: 'http/protobuf' | 'http/json'
}

export type Tracing = ReturnType<typeof openTelemetry>
export interface TracedWorker {
  interceptors: Partial<Tracing['worker']['interceptors']>
  sinks: Tracing['worker']['sinks']
}

/** How long an ending process tries to deliver its last spans, ms. */
const END_TIMEOUT = 2_000

/** Traces with OpenTelemetry. Its SDK and exporter read their variables themselves. */
export function openTelemetry({ url, protocol }: Endpoint) {
  let warned = false
  const warn = (reason: string) => {
    // The full URL can contain a password.
    if (!warned)
      logger.warn(`Traces cannot be delivered to ${url.origin} (${reason}). The pipeline continues without.`)
    warned = true
  }
  const ids = new SpanIds()
  const provider = withDiagnostics(() => {
    const provider = new NodeTracerProvider({
      idGenerator: ids,
      resource: resourceFromAttributes({ 'service.name': 'web-traffic' }).merge(
        detectResources({ detectors: [serviceInstanceIdDetector, envDetector] }),
      ),
      spanProcessors: [new BatchSpanProcessor(exporterTo(protocol, warn))],
    })
    provider.register()
    return provider
  })
  return {
    client: [clientInterceptor],
    worker: {
      interceptors: { client: { workflow: [clientInterceptor] }, activity: [activityInterceptor] },
      sinks: workflowSpans(ids),
    },
    /** Runs `run` as the root of a trace. */
    root<T>(name: string, run: (note: Note) => Promise<T>): Promise<T> {
      const note = (span: Span) => (attributes: Attributes) => void span.setAttributes(attributes)
      return withSpan(name, { root: true }, ROOT_CONTEXT, span => run(note(span)))
    },
    /** Delivers the pending spans; false if that took too long. */
    async end(): Promise<boolean> {
      const delivered = provider.shutdown().then(
        () => true,
        // The exporter has logged the failure.
        () => true,
      )
      const timer = new AbortController()
      const timeout = sleep(END_TIMEOUT, false, timer).catch(() => false)
      const inTime = await Promise.race([delivered, timeout])
      timer.abort()
      if (!inTime) warn(`not within ${END_TIMEOUT} ms`)
      return inTime
    },
  }
}

/** Logs what OpenTelemetry says about unusable settings, but not what it later says about each failed batch. */
function withDiagnostics<T>(run: () => T): T {
  const say = (message: string) => logger.warn(`OpenTelemetry: ${message}`)
  const silent = () => undefined
  diag.setLogger({ error: say, warn: say, info: silent, debug: silent, verbose: silent }, DiagLogLevel.WARN)
  try {
    return run()
  } finally {
    diag.disable()
  }
}

/** @param onFailure receives the reason each time the SDK gives up a batch, after ten seconds of retries */
function exporterTo(protocol: Endpoint['protocol'], onFailure: (reason: string) => void): JsonExporter {
  const exporter = protocol === 'http/json' ? new JsonExporter() : new ProtobufExporter()
  const send = exporter.export.bind(exporter)
  exporter.export = (spans, onResult) =>
    send(spans, result => {
      if (result.error) onFailure(reasonOf(result.error))
      onResult(result)
    })
  return exporter
}

function reasonOf({ code, message }: Error & { code?: string | number }): string {
  return code === undefined || message.includes(String(code)) ? message : `${code} ${message}`.trim()
}
