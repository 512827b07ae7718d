import { connect, type ConnectionOptions } from 'node:tls'

const TIMEOUT = 2_000
/** `explainTlsFailure` recognises both texts. */
const CLOSED_BEFORE = 'closed before secure TLS connection was established'
const CLOSED_AFTER = 'closed right after the handshake'

/**
 * Performs a TLS handshake, then waits up to two seconds for the first data, because a server may reject a client
 * certificate only after the handshake.
 *
 * @param address HOST:PORT
 * @returns why the connection failed; undefined if it works
 */
export function tlsFailure(address: string, options: ConnectionOptions): Promise<string | undefined> {
  const socket = connect({ ...parseAddress(address), ...options })
  let secure = false
  return new Promise<string | undefined>(resolve => {
    setTimeout(() => resolve(secure ? undefined : 'no answer'), TIMEOUT).unref()
    socket.once('secureConnect', () => (secure = true))
    socket.once('data', () => resolve(undefined))
    socket.once('end', () => resolve(secure ? CLOSED_AFTER : CLOSED_BEFORE))
    socket.once('error', ({ message }: Error) =>
      resolve(secure && message.includes('ECONNRESET') ? CLOSED_AFTER : message),
    )
  }).finally(() => socket.destroy())
}

/** Whether a server at HOST:PORT completes a TLS handshake, with any certificate. Sends no credentials. */
export function speaksTls(address: string): Promise<boolean> {
  const socket = connect({ ...parseAddress(address), rejectUnauthorized: false, timeout: TIMEOUT })
  return new Promise<boolean>(resolve => {
    socket.once('secureConnect', () => resolve(true))
    socket.once('timeout', () => resolve(false))
    socket.once('error', () => resolve(false))
  }).finally(() => socket.destroy())
}

function parseAddress(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`tcp://${address}`)
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port) }
}
