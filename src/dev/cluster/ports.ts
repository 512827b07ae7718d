import { randomInt } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UserError } from '../../errors'
import { tryLock, type Release } from './lock'

/** Below the range that systems use for outgoing connections, which could take a port before the server listens. */
const MIN_PORT = 15_000
const MAX_PORT = 32_000

export interface PortRequest {
  /** What the port is for, to print. */
  purpose: string
  /** The port given as an option: this one or an error. */
  required?: number | undefined
  /** The port of the previous run. */
  previous?: number | undefined
  /** The preferred port if there was no previous run. */
  usual?: number | undefined
}

/**
 * Chooses ports for components that are about to start. A port stays reserved on this machine until `release`, so that
 * two clusters that start at the same time do not choose the same one and use each other's server.
 */
export class PortReservations {
  private readonly releases: Release[] = []

  async choose(request: PortRequest, report: (line: string) => void): Promise<number> {
    if (request.required !== undefined) {
      if (await this.take(request.required)) return request.required
      throw new UserError(
        `Port ${request.required} for ${request.purpose} is in use. Free it, choose another port, or omit the option.`,
      )
    }
    const preferred = request.previous ?? request.usual
    if (preferred !== undefined && (await this.take(preferred))) return preferred
    const port = await this.reserve()
    if (preferred !== undefined) report(`port ${preferred} is in use; ${request.purpose} uses ${port}`)
    return port
  }

  release(): void {
    for (const release of this.releases.splice(0)) release()
  }

  private async reserve(): Promise<number> {
    for (;;) {
      const port = await anyFreePort()
      if (await this.take(port)) return port
    }
  }

  private async take(port: number): Promise<boolean> {
    if (!(await isPortFree(port))) return false
    try {
      const taken = tryLock(join(tmpdir(), `web-traffic-port-${port}.lock`))
      if (typeof taken !== 'function') return false
      this.releases.push(taken)
      return true
    } catch {
      // The lock file of another user.
      return false
    }
  }
}

/** Whether a server could listen on the port of the loopback address. */
export async function isPortFree(port: number): Promise<boolean> {
  // Some systems allow binding the loopback address beside a listener on all addresses, so try to connect first.
  if (await isReachable('127.0.0.1', port, 1000)) return false
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve(true)))
  })
}

export async function anyFreePort(): Promise<number> {
  for (;;) {
    const port = randomInt(MIN_PORT, MAX_PORT)
    if (await isPortFree(port)) return port
  }
}

/** Whether something accepts TCP connections. */
export function isReachable(host: string, port: number, timeoutMs: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host, port, timeout: timeoutMs })
    const settle = (reachable: boolean) => {
      socket.destroy()
      resolve(reachable)
    }
    socket.once('connect', () => settle(true))
    socket.once('timeout', () => settle(false))
    socket.once('error', () => settle(false))
  })
}
