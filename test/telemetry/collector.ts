import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'

export interface CollectedSpan {
  traceId: string
  spanId: string
  /** Undefined for a root. */
  parentId: string | undefined
  name: string
  service: string
  attributes: Record<string, unknown>
  links: { traceId: string; spanId: string; attributes: Record<string, unknown> }[]
  failed: boolean
}

/** The parts of OTLP/HTTP's JSON that are read here (opentelemetry-proto, trace/v1/trace.proto). */
interface Value {
  stringValue?: string
  intValue?: number | string
  doubleValue?: number
  arrayValue?: { values: Value[] }
}
type KeyValues = { key: string; value: Value }[]
interface Export {
  resourceSpans: {
    resource: { attributes: KeyValues }
    scopeSpans: {
      spans: {
        traceId: string
        spanId: string
        parentSpanId?: string
        name: string
        attributes?: KeyValues
        links?: { traceId: string; spanId: string; attributes?: KeyValues }[]
        status?: { code?: number }
      }[]
    }[]
  }[]
}

const STATUS_ERROR = 2

/** Receives spans as JSON by OTLP over HTTP. */
export class Collector {
  readonly spans: CollectedSpan[] = []
  /** Everything that was received. */
  text = ''
  readonly requests: { url: string; headers: IncomingHttpHeaders }[] = []
  private readonly server: Server

  constructor() {
    this.server = createServer((request, response) => {
      const { url = '', headers } = request
      this.requests.push({ url, headers })
      void json(request).then(body => {
        this.text += JSON.stringify(body)
        this.collect(body as Export)
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      })
    })
  }

  private collect({ resourceSpans }: Export): void {
    for (const { resource, scopeSpans } of resourceSpans)
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
        const { traceId, spanId, name, links = [], status } = span
        this.spans.push({
          traceId,
          spanId,
          parentId: span.parentSpanId || undefined,
          name,
          service: String(record(resource.attributes)['service.name']),
          attributes: record(span.attributes),
          links: links.map(({ attributes, ...link }) => ({ ...link, attributes: record(attributes) })),
          failed: status?.code === STATUS_ERROR,
        })
      }
  }

  /** Returns its URL. */
  async start(): Promise<string> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }

  named(name: string): CollectedSpan[] {
    return this.spans.filter(span => span.name === name)
  }

  childrenOf({ traceId, spanId }: CollectedSpan): CollectedSpan[] {
    return this.spans.filter(span => span.traceId === traceId && span.parentId === spanId)
  }

  parentOf({ traceId, parentId }: CollectedSpan): CollectedSpan | undefined {
    return this.spans.find(span => span.traceId === traceId && span.spanId === parentId)
  }
}

function record(attributes: KeyValues = []): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plain(value)]))
}

function plain({ stringValue, intValue, doubleValue, arrayValue }: Value): unknown {
  if (intValue !== undefined) return Number(intValue)
  return stringValue ?? doubleValue ?? arrayValue?.values.map(plain)
}
