import { randomInt } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UserError } from '../../errors'
import { tryLock, type Release } from './lock'

const LOWEST_FREE = 15_000
const HIGHEST_FREE = 32_000
const LOCK_PREFIX = 'web-traffic-port-'

export interface PortRequest {
  /** What the port is for, as a person would say it. */
  purpose: string
  /** Asked for by option: this port or an error. */
  required?: number | undefined
  /** The port of the last run. */
  previous?: number | undefined
  /** The usual port; without one any free port does. */
  usual?: number | undefined
}

/**
 * Ports chosen for components that are about to start.
 *
 * A port stays reserved on this machine until `release`, so that two clusters that start at once do not
 * choose the same one: the loser would find the winner's server there and take it for its own.
 */
export class PortReservations {
  private readonly releases: Release[] = []

  constructor() {
    removeAbandoned()
  }

  async choose(request: PortRequest, report: (line: string) => void): Promise<number> {
    if (request.required !== undefined) {
      if (await this.take(request.required)) return request.required
      throw new UserError(
        `port ${request.required} for ${request.purpose} is taken: free it, or give another port or none`,
      )
    }
    const preferred = request.previous ?? request.usual
    if (preferred !== undefined && (await this.take(preferred))) return preferred
    const port = await this.reserve()
    if (preferred !== undefined) report(`port ${preferred} is taken; ${request.purpose} uses ${port}`)
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
      const taken = tryLock(join(tmpdir(), `${LOCK_PREFIX}${port}.lock`))
      if (typeof taken !== 'function') return false
      this.releases.push(taken)
      return true
    } catch {
      return false // Another user's lock file that we may not replace.
    }
  }
}

/** Removes the reservations of commands that were killed. */
function removeAbandoned(): void {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(LOCK_PREFIX) || !name.endsWith('.lock')) continue
    try {
      const taken = tryLock(join(tmpdir(), name))
      if (typeof taken === 'function') taken()
    } catch {
      // Another user's.
    }
  }
}

/** Whether nothing listens on the port of the loopback address. */
export async function isPortFree(port: number): Promise<boolean> {
  // Some systems let a loopback listener in beside one on all addresses, so binding alone does not tell.
  if (await isReachable('127.0.0.1', port, 1000)) return false
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve(true)))
  })
}

/**
 * A port that nothing listens on now. It lies below those that systems give to outgoing connections, one of
 * which could otherwise take it before the server listens.
 */
export async function anyFreePort(): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST_FREE, HIGHEST_FREE)
    if (await isPortFree(port)) return port
  }
}

/** Whether something accepts a TCP connection there. */
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
