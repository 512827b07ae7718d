import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  connect,
  createSecureServer,
  type ClientHttp2Session,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { status } from '@grpc/grpc-js'
import type { Authority } from './certificates'

/** What a client has to show. */
export interface Demands {
  clientCertificate?: true
  apiKey?: string
}

/**
 * TLS before the Temporal development server, which speaks none itself: ends TLS as a hosted Temporal would, refuses who
 * does not show what is demanded, and hands every call on.
 */
export class SecureTemporal {
  private readonly sessions = new Set<ServerHttp2Session>()
  /** Calls that were let through. */
  passed = 0

  private constructor(
    private readonly server: Http2SecureServer,
    private readonly upstream: ClientHttp2Session,
    private readonly demands: Demands,
  ) {
    server.on('session', session => {
      this.sessions.add(session)
      session.on('close', () => this.sessions.delete(session))
      session.on('error', () => undefined)
    })
    server.on('sessionError', () => undefined)
    server.on('stream', (stream, headers) => this.handOn(stream, headers))
  }

  static async start(address: string, authority: Authority, demands: Demands): Promise<SecureTemporal> {
    const { cert, key } = await authority.issue('temporal')
    const server = createSecureServer({
      cert: readFileSync(cert),
      key: readFileSync(key),
      ca: readFileSync(authority.file),
      requestCert: demands.clientCertificate ?? false,
      rejectUnauthorized: demands.clientCertificate ?? false,
    })
    const upstream = connect(`http://${address}`)
    upstream.on('error', () => undefined)
    const proxy = new SecureTemporal(server, upstream, demands)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return proxy
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  async end(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    for (const session of this.sessions) session.destroy()
    this.upstream.destroy()
    await closed
  }

  private handOn(stream: ServerHttp2Stream, headers: Record<string, unknown>): void {
    stream.on('error', () => undefined)
    const { apiKey } = this.demands
    if (apiKey !== undefined && headers.authorization !== `Bearer ${apiKey}`) {
      const refusal = {
        'grpc-status': String(status.UNAUTHENTICATED),
        'grpc-message': 'Request unauthorized.',
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...refusal }, { endStream: true })
      return
    }
    this.passed++
    const own = Object.entries(headers).filter(([name]) => name !== ':authority' && name !== ':scheme')
    const call = this.upstream.request(Object.fromEntries(own) as Record<string, string>)
    call.on('error', () => stream.close())
    // An answer without a body bears its status in the first headers, and any other in the last.
    call.on('response', (answer, flags) => {
      if (stream.destroyed) return
      const isWhole = (flags & END_STREAM) !== 0
      stream.respond(answer, { endStream: isWhole, waitForTrailers: !isWhole })
    })
    let trailers: Record<string, string> = {}
    call.on('trailers', received => (trailers = received as Record<string, string>))
    stream.on('wantTrailers', () => stream.sendTrailers(trailers))
    call.pipe(stream)
    stream.pipe(call)
    stream.on('close', () => call.close())
  }
}

const END_STREAM = 1
