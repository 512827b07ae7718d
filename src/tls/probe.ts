import { connect, type ConnectionOptions } from 'node:tls'

const PATIENCE = 2_000
const CLOSED_BEFORE = 'closed before secure TLS connection was established'
/** So do servers that do not say what they think of the client's certificate. */
const CLOSED_AFTER = 'closed right after the handshake'

/**
 * Shakes hands by TLS and waits for the server's first word, for up to two seconds, since it may refuse a client's
 * certificate only after the handshake.
 *
 * @returns what went wrong; undefined where nothing did
 */
export function tlsFailure(address: string, options: ConnectionOptions): Promise<Error | undefined> {
  const { host, port } = parseAddress(address)
  return new Promise(resolve => {
    const socket = connect({ host, port, ...options })
    let secure = false
    const end = (failure?: Error) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(failure)
    }
    const timer = setTimeout(() => end(secure ? undefined : new Error('no answer')), PATIENCE)
    socket.once('secureConnect', () => (secure = true))
    socket.once('data', () => end())
    socket.once('end', () => end(new Error(secure ? CLOSED_AFTER : CLOSED_BEFORE)))
    socket.once('error', (error: Error) =>
      end(secure && error.message.includes('ECONNRESET') ? new Error(CLOSED_AFTER) : error),
    )
  })
}

/** Whether a server speaks TLS, whoever it is. Nothing is told to it. */
export function speaksTls(address: string): Promise<boolean> {
  const { host, port } = parseAddress(address)
  return new Promise(resolve => {
    const socket = connect({ host, port, rejectUnauthorized: false, timeout: PATIENCE })
    const end = (speaks: boolean) => {
      socket.destroy()
      resolve(speaks)
    }
    socket.once('secureConnect', () => end(true))
    socket.once('timeout', () => end(false))
    socket.once('error', () => end(false))
  })
}

function parseAddress(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`tcp://${address}`)
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port) }
}
