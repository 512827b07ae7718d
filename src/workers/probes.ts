import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { UserError } from '../errors'
import type { ListenAddress } from '../telemetry/exporter'

/**
 * Serves the probes of an orchestrator: `/livez` answers 200 while the event loop runs; `/readyz` answers 200, or 503 with
 * the reason as text.
 *
 * @param whyNotReady returns undefined if the process is ready
 * @throws UserError if the address is unavailable
 */
export async function serveProbes(
  { host, port }: ListenAddress,
  whyNotReady: () => Promise<string | undefined>,
): Promise<Server> {
  const server = createServer((request, response) => {
    const answer = (status: number, text: string) =>
      response.writeHead(status, { 'content-type': 'text/plain' }).end(`${text}\n`)
    if (request.url === '/livez') answer(200, 'alive')
    else if (request.url === '/readyz')
      void whyNotReady().then(reason => answer(reason === undefined ? 200 : 503, reason ?? 'ready'))
    else answer(404, 'Use /livez or /readyz.')
  })
  server.listen(port, host)
  await once(server, 'listening').catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException
    throw new UserError(`HEALTH_ADDRESS: cannot listen on ${host}:${port} (${code}): set another address.`)
  })
  return server
}

export async function closeProbes(server: Server): Promise<void> {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
}
