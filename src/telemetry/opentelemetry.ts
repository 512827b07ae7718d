import { setTimeout as sleep } from 'node:timers/promises'
import { diag, DiagLogLevel, ROOT_CONTEXT } from '@opentelemetry/api'
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
import { SpanIds } from './span-ids'
import { within } from './spans'
import type { Endpoint, Tracing } from './tracing-port'

/** How long an ending process tries to deliver its last spans. ms */
const ENDS_WITHIN = 2_000

/** Traces by OpenTelemetry: the SDK and its exporter read their variables themselves. */
export function openTelemetry({ url, protocol }: Endpoint): Tracing {
  let warned = false
  const warn = (reason: string) => {
    if (!warned)
      // Of the address no more than this: a login may be in it.
      logger.warn(`Traces are not delivered to ${url.origin} (${reason}); all else goes on without them.`)
    warned = true
  }
  // Of the settings that it cannot use; later on it would say of every batch what is said once.
  const say = (message: string) => logger.warn(`OpenTelemetry: ${message}`)
  const silent = () => undefined
  const diagnostics = { error: say, warn: say, info: silent, debug: silent, verbose: silent }
  diag.setLogger(diagnostics, DiagLogLevel.WARN)
  const ids = new SpanIds()
  const provider = new NodeTracerProvider({
    idGenerator: ids,
    resource: resourceFromAttributes({ 'service.name': 'web-traffic' }).merge(
      detectResources({ detectors: [serviceInstanceIdDetector, envDetector] }),
    ),
    spanProcessors: [new BatchSpanProcessor(exporterTo(protocol, warn))],
  })
  provider.register()
  diag.disable()
  return {
    client: [clientInterceptor],
    worker: {
      interceptors: { client: { workflow: [clientInterceptor] }, activity: [activityInterceptor] },
      sinks: workflowSpans(ids),
    },
    root: (name, run) =>
      within(name, { root: true }, ROOT_CONTEXT, span => run(attributes => span.setAttributes(attributes))),
    async end() {
      const timer = new AbortController()
      const delivered = provider.shutdown().then(
        () => true,
        // The exporter has said so.
        () => true,
      )
      const givenUp = sleep(ENDS_WITHIN, false, { signal: timer.signal })
      const inTime = await Promise.race([delivered, givenUp])
      timer.abort()
      await givenUp.catch(() => undefined)
      if (!inTime) warn(`not within ${ENDS_WITHIN} ms`)
      return inTime
    },
  }
}

/** @param onFailure told why a batch was given up, which the SDK does after ten seconds of trying */
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

function reasonOf(error: Error & { code?: string | number }): string {
  const { code, message } = error
  return code === undefined || message.includes(String(code)) ? message : `${code} ${message}`.trim()
}
