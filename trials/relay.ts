import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** Stands before a server at an address of its own. It can be away while the server goes on for others. */
export class Relay {
  private server: Server | undefined
  private readonly sockets = new Set<Socket>()
  private readonly swallowed = new Set<Socket>()
  private port = 0
  /** Bytes that went through, both ways. */
  passed = 0

  constructor(private readonly target = new URL(process.env.POSTGRES_URL!)) {}

  /** For example `127.0.0.1:40123`. */
  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** The target's URL with this relay's address. */
  get url(): string {
    const url = new URL(this.target)
    url.host = this.address
    return url.href
  }

  /** Listens; after an absence, at the same port. */
  async open(): Promise<void> {
    if (this.server?.listening) return
    this.server = createServer(client => this.join(client)).listen(this.port, '127.0.0.1')
    await once(this.server, 'listening')
    this.port = (this.server.address() as AddressInfo).port
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    const closed = once(this.server!, 'close')
    this.server!.close()
    for (const socket of this.sockets) socket.destroy()
    await closed
  }

  /** Lets nothing more through on the connections that are open, not even their end; new ones work. */
  swallow(): void {
    for (const socket of this.sockets) {
      this.swallowed.add(socket)
      socket.unpipe()
      socket.resume()
    }
  }

  private join(client: Socket): void {
    const upstream = connect(Number(this.target.port || 5432), this.target.hostname)
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.sockets.add(one)
      one.pipe(other)
      one.on('data', (data: Buffer) => (this.passed += data.length))
      one.on('error', () => undefined)
      one.once('close', () => {
        this.sockets.delete(one)
        if (!this.swallowed.has(one)) other.destroy()
      })
    }
  }
}
