import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Mood =
  'well' | 'too often' | 'broken' | 'refusing' | 'garbage' | 'silent' | 'unknown' | 'no address'

/** Speaks the API of IP2Location.io: `GET /?key=…&ip=…&format=json`. */
export class LookUpService {
  mood: Mood = 'well'
  readonly asked: string[] = []
  underWay = 0
  mostUnderWay = 0
  private readonly server: Server

  constructor(private readonly key: string) {
    this.server = createServer((request, response) => {
      const query = new URL(request.url!, 'http://localhost').searchParams
      const ip = query.get('ip')!
      this.asked.push(ip)
      this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay)
      response.on('close', () => this.underWay--)
      const answer = (status: number, body: unknown, headers = {}) =>
        setTimeout(() => {
          response.writeHead(status, { 'content-type': 'application/json', ...headers })
          response.end(typeof body === 'string' ? body : JSON.stringify(body))
        }, 5)
      const refuse = (status: number, error_message: string, headers = {}) =>
        answer(status, { error: { error_code: 10_000, error_message } }, headers)
      if (this.mood === 'silent') return
      if (this.mood === 'refusing' || query.get('key') !== this.key)
        refuse(401, `Invalid API key: ${this.key}`)
      else if (this.mood === 'too often') refuse(429, `Slow down, ${ip}`, { 'retry-after': '1' })
      else if (this.mood === 'broken') answer(500, `<h1>${ip}</h1>`)
      else if (this.mood === 'garbage') answer(200, `<html>${ip}`)
      else if (this.mood === 'no address') refuse(400, 'Invalid IP address.')
      else answer(200, { ip, country_code: this.mood === 'unknown' ? '-' : countryOf(ip), is_proxy: false })
    })
  }

  async start(): Promise<string> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }
}

/** What the service answers of a public address. */
export function countryOf(ip: string): string {
  return ['DE', 'US', 'FR'][Number(ip.split('.').at(-1)) % 3]!
}
