import type { Live } from '../messages'

/** What the server says of a request that it does not answer. */
export class RefusedError extends Error {
  override name = 'RefusedError'
}

export async function ask<T>(path: string, query: URLSearchParams, signal: AbortSignal): Promise<T> {
  const parameters = query.toString()
  const response = await fetch(parameters === '' ? path : `${path}?${parameters}`, { signal }).catch(
    (error: unknown) => {
      throw signal.aborted ? error : new RefusedError('The dashboard itself does not answer.')
    },
  )
  const body: unknown = await response.json()
  if (response.ok) return body as T
  throw new RefusedError((body as { error?: string }).error ?? `The dashboard answers ${response.status}.`)
}

/** Hears whatever is new, and says when it hears nothing any more; the browser connects again by itself. */
export function listen(heard: (live: Live) => void, connected: (yes: boolean) => void): void {
  const events = new EventSource('/api/live')
  events.onopen = () => connected(true)
  events.onerror = () => {
    connected(false)
    // A refusal is final for the browser, but not for us.
    if (events.readyState !== EventSource.CLOSED) return
    events.close()
    setTimeout(() => listen(heard, connected), 2_000)
  }
  events.onmessage = ({ data }: MessageEvent<string>) => heard(JSON.parse(data) as Live)
}
