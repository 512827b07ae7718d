import { z } from 'zod'
import { UNKNOWN_COUNTRY } from '../core/counts/unknown-country'
import { LookupError } from './lookup'

const TIMEOUT = 5_000
/** Even if the service asks for a longer wait, its recovery is noticed within this time. */
const MAX_RETRY_AFTER = 600_000
const PERMANENT_RETRY_AFTER = 30_000

export interface GeoServiceConfig {
  url: string
  /** Secret; undefined if none is set. */
  key?: string
  /** Maximum lookups per second and worker process. */
  rate: number
  /** Whether events wait while the service is down, or count as `??` until a replay looks them up again. */
  onError: 'wait' | 'unknown'
}

const foundAnswer = z.object({ country_code: z.string().regex(/^[A-Z]{2}$/) })
const unknownAnswer = z.object({ country_code: z.literal([null, '', '-']) })
const addressError = z.object({ error: z.object({ error_message: z.string().regex(/\bIP address\b/i) }) })

/** A client for the API of IP2Location.io: one address per request, `GET <url>?key=…&ip=…&format=json`. */
export class Ip2Location {
  constructor(
    private readonly url: string,
    private readonly key: string,
    private readonly timeout = TIMEOUT,
  ) {}

  /**
   * @param address a public address
   * @returns its ISO 3166-1 alpha-2 code, or `??` if the service does not know it
   * @throws LookupError, which contains neither the address nor the key nor any text of the service
   */
  async country(address: string): Promise<string> {
    const url = new URL(this.url)
    url.searchParams.set('key', this.key)
    url.searchParams.set('ip', address)
    url.searchParams.set('format', 'json')
    let response: Response
    let body: unknown
    try {
      response = await fetch(url, { signal: AbortSignal.timeout(this.timeout), redirect: 'manual' })
      body = parseJson(await response.text())
    } catch (error) {
      throw new LookupError(`The lookup service ${this.describeSilence(error)}.`, 'transient')
    }
    if (response.status === 400 && addressError.safeParse(body).success) return UNKNOWN_COUNTRY
    if (response.status !== 200) throw refusal(response)
    if (unknownAnswer.safeParse(body).success) return UNKNOWN_COUNTRY
    const found = foundAnswer.safeParse(body)
    if (found.success) return found.data.country_code
    throw new LookupError('The lookup service sends an invalid answer (200).', 'transient')
  }

  /** Uses only error codes, because the messages of `fetch` can contain the URL. */
  private describeSilence(error: unknown): string {
    const { name, cause } = error as Error
    if (name === 'TimeoutError') return `does not answer within ${this.timeout} ms`
    const { code } = (cause ?? {}) as { code?: unknown }
    return `cannot be reached (${typeof code === 'string' ? code : 'connection failed'})`
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function refusal({ status, headers }: Response): LookupError {
  if (status === 401 || status === 403)
    return new LookupError(
      `The lookup service rejects the key (${status}): set IP_CODING_KEY to a valid key and restart the workers, or ` +
        'renew this one with the provider. Until then nothing is read and nothing is lost.',
      'permanent',
      PERMANENT_RETRY_AFTER,
    )
  const what = status === 429 ? 'received too many requests' : 'fails'
  return new LookupError(`The lookup service ${what} (${status}).`, 'transient', retryAfter(headers))
}

/** The header's wait in milliseconds; it is in seconds or an HTTP date (RFC 9110, 10.2.3). */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  const wait = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isNaN(wait) ? undefined : Math.min(Math.max(wait, 0), MAX_RETRY_AFTER)
}
