import type { LiveStatus } from '../api'

/** The server refused the request or did not answer; the message is for the reader of the page. */
export class RequestFailedError extends Error {
  override name = 'RequestFailedError'
}

export async function getJson<T>(url: string, signal: AbortSignal): Promise<T> {
  const response = await fetch(url, { signal }).catch((error: unknown) => {
    throw signal.aborted ? error : new RequestFailedError('The dashboard server does not answer.')
  })
  const body = (await response.json()) as T & { error?: string }
  if (response.ok) return body
  throw new RequestFailedError(body.error ?? `The dashboard server answered ${response.status}.`)
}

export function subscribe(
  onStatus: (status: LiveStatus) => void,
  onConnection: (connected: boolean) => void,
): void {
  const events = new EventSource('/api/live')
  events.onopen = () => onConnection(true)
  events.onerror = () => {
    onConnection(false)
    // The browser reconnects after a lost connection, but not after an error response.
    if (events.readyState !== EventSource.CLOSED) return
    events.close()
    setTimeout(() => subscribe(onStatus, onConnection), 2_000)
  }
  events.onmessage = ({ data }: MessageEvent<string>) => onStatus(JSON.parse(data) as LiveStatus)
}
