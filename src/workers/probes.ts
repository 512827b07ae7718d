import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { UserError } from '../errors'
import type { ListenAddress } from '../telemetry/exporter'

/**
 * Answers what an orchestrator asks of a process: `/livez` says 200 as long as its event loop turns, and `/readyz` while
 * nothing is in the way of its work, or else 503; the text of the answer is the reason.
 *
 * @param whyNotReady undefined where it is ready
 * @throws UserError where the address cannot be listened on
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
    else answer(404, 'There are /livez and /readyz.')
  })
  server.listen(port, host)
  await once(server, 'listening').catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException
    throw new UserError(`HEALTH_ADDRESS: ${host}:${port} cannot be listened on (${code}): set another.`)
  })
  return server
}

/** Whoever still waits for an answer is let go. */
export async function closeProbes(server: Server): Promise<void> {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
}
